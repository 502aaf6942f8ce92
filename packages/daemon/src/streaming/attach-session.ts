/** One attach session: joins a transport to a container's stdio, by the second table of "Attach, exactly" in docs/attach.md. */
import type { Logger } from 'pino';
import type { Claim } from '../stdio/output-hub.ts';
import type { ContainerStdio } from '../stdio/container-stdio.ts';
import type { Cursor, CursorEnd } from '../stdio/cursor.ts';
import type { StdinWriter } from '../stdio/stdin-arbiter.ts';
import type { SessionStatus, Transport } from '../transport/transport.ts';
import { settleAfterEof } from './eof-settling.ts';
import type { SessionEnd } from './handler.ts';
import { exitStatus, failure, SUCCESS } from './session-status.ts';

/** What a session may do and what its container is like. */
export type AttachOptions = {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly from: 'now' | 'start';
  readonly tty: boolean;
  readonly stdinOnce: boolean;
  /** Report a non-zero exit as `NonZeroExitCode` (setting `stdio.exit_code_status`). */
  readonly exitCodeStatus: boolean;
  /** Ends the session with this status (container removed, daemon stopping). */
  readonly signal?: AbortSignal;
  /** Gets what tells how far the session is behind the container's output, bytes. */
  lagIs?(lag: () => number): void;
};

const STOPPING = 'the daemon is stopping: the container goes on, attach again when the daemon is back';

/** Serves a session until its end; resolves when the transport is closed. Never rejects. */
export async function serveAttach(
  stdio: ContainerStdio,
  claim: Claim,
  transport: Transport,
  options: AttachOptions,
  log: Logger,
): Promise<SessionEnd> {
  return await new AttachSession(stdio, transport, options, log).run(claim);
}

class AttachSession {
  readonly #stdio: ContainerStdio;
  readonly #transport: Transport;
  readonly #options: AttachOptions;
  readonly #log: Logger;
  readonly #ended = Promise.withResolvers<SessionEnd>();
  /** Aborted when the session is over, however it ended: ends what still waits for it. */
  readonly #over = new AbortController();
  #cursor: Cursor | undefined;
  #writer: StdinWriter | undefined;
  #discardSaid = false;
  #clientGone = false;

  constructor(stdio: ContainerStdio, transport: Transport, options: AttachOptions, log: Logger) {
    this.#stdio = stdio;
    this.#transport = transport;
    this.#options = options;
    this.#log = log;
  }

  async run(claim: Claim): Promise<SessionEnd> {
    const { stdin, stdout, stderr, from, signal } = this.#options;
    const abort = (): void => this.#end(failure('SessionEnded', STOPPING), 'ended by the daemon');
    signal?.addEventListener('abort', abort, { once: true });
    const endTypist = stdin ? this.#stdio.addTypist() : undefined;
    this.#cursor = this.#stdio.output.open(
      claim,
      from,
      { stdout, stderr },
      {
        write: (stream, data) => this.#transport.write(stream === 1 ? 'stdout' : 'stderr', data),
        flushed: () => this.#transport.flushed,
        unsent: async () => await this.#transport.unsent(),
        ended: (end) => this.#outputEnded(end),
      },
    );
    const cursor = this.#cursor;
    this.#options.lagIs?.(() => cursor.lag);
    if (stdin) this.#writer = this.#stdio.stdin.writer(() => this.#transport.resumeInput());
    this.#transport.start({
      stdin: (chunk) => this.#stdin(chunk),
      stdinEof: () => this.#stdinEof(),
      resize: (size) => this.#stdio.resize(size.columns, size.rows, stdin),
      drain: () => this.#cursor?.resume(),
      closed: (reason) => this.#closed(reason),
    });
    if (signal?.aborted === true) abort();
    const end = await this.#ended.promise;
    this.#over.abort();
    signal?.removeEventListener('abort', abort);
    endTypist?.();
    this.#writer?.end();
    this.#cursor.close();
    if (!this.#clientGone) await this.#transport.finish(end.status);
    return end;
  }

  #stdin(chunk: Uint8Array): void {
    if (this.#writer === undefined || !this.#stdio.stdin.open) return this.#discard();
    if (!this.#writer.write(chunk)) this.#transport.pauseInput();
  }

  #discard(): void {
    if (this.#discardSaid) return;
    this.#discardSaid = true;
    this.#log.info('input is discarded: the container has no stdin, or it is closed');
  }

  #stdinEof(): void {
    if (this.#writer === undefined || !this.#stdio.stdin.open) return this.#discard();
    if (this.#options.stdinOnce && !this.#options.tty) return this.#writer.closeStdin();
    void this.#settle(this.#writer);
  }

  async #settle(writer: StdinWriter): Promise<void> {
    const done = await settleAfterEof({
      tty: this.#options.tty,
      unread: async () => (writer.flushed ? await this.#stdio.unreadInput() : 1),
      head: () => this.#stdio.output.live.head,
      delivered: () => this.#cursor?.caughtUp ?? true,
      reached: (offset) => (this.#cursor?.position ?? offset) >= offset,
      signal: this.#over.signal,
    });
    if (done) this.#end(SUCCESS, 'stdin ended');
  }

  #outputEnded(end: CursorEnd): void {
    if (end.kind === 'exit') this.#end(exitStatus(end.record, this.#options.exitCodeStatus), 'container exited');
    else this.#end(failure(end.reason, end.message), end.reason);
  }

  #closed(reason: string): void {
    this.#clientGone = true;
    // Kubernetes: the first stdin client that leaves closes a stdin_once container's stdin; `berth attach` and kubelet rely on it.
    if (this.#writer !== undefined && this.#options.stdinOnce && !this.#options.tty) this.#writer.closeStdin();
    this.#end(SUCCESS, reason);
  }

  #end(status: SessionStatus, cause: string): void {
    this.#ended.resolve({ status, cause });
  }
}
