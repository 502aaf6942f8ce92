/** One exec session: joins a transport to a program's stdio, by docs/exec.md. The program lives as long as its client, and no longer. */
import type { Logger } from 'pino';
import type { StdioConfig } from '../config/config.ts';
import { ContainerStdio } from '../stdio/container-stdio.ts';
import type { Cursor, CursorEnd } from '../stdio/cursor.ts';
import type { Shim } from '../stdio/shim.ts';
import type { StdinWriter } from '../stdio/stdin-arbiter.ts';
import type { SessionStatus, TerminalSize, Transport } from '../transport/transport.ts';
import { messageOf } from '../util/errors.ts';
import { settledWithin } from '../util/wait.ts';
import type { SessionEnd } from './handler.ts';
import { exitStatus, failure, SUCCESS } from './session-status.ts';

/** Starts the program; `signal` is aborted when nobody wants it any more. */
export type StartProgram = (size: TerminalSize | undefined, signal: AbortSignal) => Promise<Shim>;

export type ExecOptions = {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
  /** Ends the session, and the program with it (daemon stopping). */
  readonly signal: AbortSignal;
};

/** Clients send the size right behind their upgrade: a program that looks at it at once should see it. Who sends none waits this long, once. */
const FIRST_SIZE_MS = 50;

const STOPPING = 'the daemon is stopping: the container goes on, the program of this session has been ended';

/** What a program may be ahead of its client; the shim's ring and the pipe come on top. */
const EXEC_BUFFER_BYTES = 1024 * 1024;

/** A program that waits for its client waits as long as the client likes: it holds back nobody else. */
const stdioOf = (config: StdioConfig): StdioConfig => ({
  ...config,
  liveBufferBytes: EXEC_BUFFER_BYTES,
  slow: 'block',
  stallMs: Number.POSITIVE_INFINITY,
});

export class ExecSession {
  readonly #transport: Transport;
  readonly #options: ExecOptions;
  readonly #config: StdioConfig;
  readonly #log: Logger;
  readonly #ended = Promise.withResolvers<SessionEnd>();
  /** Aborted when the session is over, however it ended. */
  readonly #over = new AbortController();
  readonly #firstSize = Promise.withResolvers<void>();
  #stdio: ContainerStdio | undefined;
  #cursor: Cursor | undefined;
  #writer: StdinWriter | undefined;
  #size: TerminalSize | undefined;
  #eof = false;
  #clientGone = false;

  constructor(transport: Transport, options: ExecOptions, config: StdioConfig, log: Logger) {
    this.#transport = transport;
    this.#options = options;
    this.#config = config;
    this.#log = log;
  }

  /** Serves the session until its end; resolves when the transport is closed. Never rejects. */
  async run(start: StartProgram): Promise<SessionEnd> {
    const { signal } = this.#options;
    const abort = (): void => this.#end(failure('SessionEnded', STOPPING), 'ended by the daemon');
    signal.addEventListener('abort', abort, { once: true });
    this.#transport.start({
      stdin: (chunk) => this.#stdin(chunk),
      stdinEof: () => this.#stdinEof(),
      resize: (size) => this.#resize(size),
      drain: () => this.#cursor?.resume(),
      closed: (reason) => {
        this.#clientGone = true;
        this.#end(SUCCESS, reason);
      },
    });
    // Input waits for the program.
    this.#transport.pauseInput();
    if (signal.aborted) abort();
    const program = this.#begin(start);
    const end = await this.#ended.promise;
    this.#over.abort();
    signal.removeEventListener('abort', abort);
    this.#cursor?.close();
    // Ends the program, where it still runs.
    (await program)?.close();
    if (!this.#clientGone) await this.#transport.finish(end.status);
    return end;
  }

  async #begin(start: StartProgram): Promise<Shim | undefined> {
    // Also when the session is over before one has come, which is looked at next.
    if (this.#options.tty) await settledWithin(this.#firstSize.promise, FIRST_SIZE_MS, this.#over.signal).catch(() => undefined);
    if (this.#over.signal.aborted) return undefined;
    let shim: Shim;
    try {
      shim = await start(this.#size, this.#over.signal);
    } catch (error) {
      const why = messageOf(error);
      if (!this.#over.signal.aborted) this.#log.info({ err: error }, 'exec could not be started');
      this.#end(failure('InternalError', `Internal error occurred: error executing command in container: ${why}`), 'not started');
      return undefined;
    }
    try {
      await this.#join(shim);
    } catch (error) {
      this.#end(failure('SupervisorLost', (error as Error).message), 'SupervisorLost');
    }
    return shim;
  }

  async #join(shim: Shim): Promise<void> {
    const { stdin, stdout, stderr } = this.#options;
    const stdio = new ContainerStdio(shim, undefined, stdioOf(this.#config), this.#log);
    const claim = await stdio.output.claim();
    if (this.#over.signal.aborted) return stdio.output.release(claim);
    this.#stdio = stdio;
    this.#cursor = stdio.output.open(
      claim,
      'start',
      { stdout, stderr },
      {
        write: (stream, data) => this.#transport.write(stream === 1 ? 'stdout' : 'stderr', data),
        flushed: () => this.#transport.flushed,
        ended: (end) => this.#outputEnded(end, shim),
      },
    );
    if (this.#size !== undefined) stdio.resize(this.#size.columns, this.#size.rows, true);
    if (stdin) this.#writer = stdio.stdin.writer(() => this.#transport.resumeInput());
    if (this.#eof) this.#stdinEof();
    this.#transport.resumeInput();
  }

  /** Before the program runs only what the transport had under way when it was paused comes here: none, by its contract. */
  #stdin(chunk: Uint8Array): void {
    if (this.#writer !== undefined && !this.#writer.write(chunk)) this.#transport.pauseInput();
  }

  /** A terminal's stdin is the terminal: it has no end of its own. */
  #stdinEof(): void {
    this.#eof = true;
    if (!this.#options.tty) this.#writer?.closeStdin();
  }

  #resize(size: TerminalSize): void {
    this.#size = size;
    this.#firstSize.resolve();
    this.#stdio?.resize(size.columns, size.rows, true);
  }

  #outputEnded(end: CursorEnd, shim: Shim): void {
    if (end.kind === 'failed') return this.#end(failure(end.reason, end.message), end.reason);
    // Lets the supervisor end by itself; whatever the program left behind stays.
    void shim.leave();
    this.#end(exitStatus(end.record, true), `exited with ${end.record.code}`);
  }

  #end(status: SessionStatus, cause: string): void {
    this.#ended.resolve({ status, cause });
  }
}
