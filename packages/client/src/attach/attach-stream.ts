// Opens the URL that an Attach call has returned, and holds the container's streams over WebSocket (v5.channel.k8s.io).
import type { IncomingMessage } from 'node:http';
import {
  CHANNEL,
  decodeMessage,
  decodeStatus,
  encodeClose,
  encodeMessage,
  encodeSize,
  exitCodeOf,
  SUBPROTOCOLS,
  type WireStatus,
} from '@berth/attach-protocol';
import { WebSocket } from 'ws';
import { Input } from './input.ts';
import { Output } from './output.ts';
import { AttachRefused, SessionFailed, StreamLost } from './stream-lost.ts';

/** PEM, as in the files. */
export type ClientTls = {
  /** Authorities that may have signed the server's certificate; without, those that Node.js knows. */
  readonly ca?: string | Uint8Array;
  /** Certificate and key of this client, where the server asks for one. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
};

/** Which streams the URL was asked for: the same as in the call that gave it. */
export type StreamOptions<In extends boolean = boolean, Out extends boolean = boolean, Err extends boolean = boolean> = {
  /** Default: not. */
  readonly stdin?: In;
  /** Default: asked for. */
  readonly stdout?: Out;
  /** Default: not. */
  readonly stderr?: Err;
  /** For `https` URLs. The server's certificate is always verified. */
  readonly tls?: ClientTls | undefined;
  /** Ends the session as `detach` does; before the connection stands it fails the opening. */
  readonly signal?: AbortSignal;
};

/** The same for a container's own streams. */
export type AttachStreamOptions<
  In extends boolean = boolean,
  Out extends boolean = boolean,
  Err extends boolean = boolean,
> = StreamOptions<In, Out, Err> & {
  /** `start`: everything that the container has written since its start, without a hole to what comes live. */
  readonly from?: 'now' | 'start';
};

/** A stream that is there when it was asked for. */
type When<Asked extends boolean, Stream> = Asked extends true ? Stream : undefined;

/** How a session ended. */
export type SessionEnd =
  /**
   * The daemon has said so: Success, or an exit code. Every byte of output came before. `exitCode` only where the status tells one: a failure
   * with the reason `NonZeroExitCode`, which daemons with `stdio.exit_code_status` send. `Success` tells none: the container has ended with
   * any code, or goes on after the end of its input. The call `ContainerStatus` has its state and exit code, up to a second later.
   */
  | { readonly kind: 'status'; readonly status: WireStatus; readonly exitCode: number | undefined }
  /** `detach` was called here; the container goes on. */
  | { readonly kind: 'detached' };

/** An open session; it has the streams that were asked for. */
export type AttachSession<In extends boolean = boolean, Out extends boolean = boolean, Err extends boolean = boolean> = {
  /** What the container reads. `end()` says that nothing more comes. Destroyed, without an error, when the session ends. */
  readonly stdin: When<In, Input>;
  /** Output as it comes. Stop reading and the daemon holds it for you (from the log if need be); nothing gets lost. */
  readonly stdout: When<Out, Output>;
  /** Never anything with a terminal. */
  readonly stderr: When<Err, Output>;
  /** Tells the size of the terminal. */
  resize(columns: number, rows: number): void;
  /** Leaves the container as it is and ends the session. */
  detach(): void;
  /**
   * Resolves on the session's status, which comes after all output, or after `detach`. Rejects with `SessionFailed` on a status that is
   * neither Success nor an exit code, and with `StreamLost` when none came; so do the outputs, behind their last byte.
   */
  readonly ended: Promise<SessionEnd>;
};

/** The oldest protocol in which a client can end stdin alone; every Berth speaks it. */
const PROTOCOL = SUBPROTOCOLS['v5.channel.k8s.io'];
/** A streaming server answers at once; ten seconds is a machine on its knees. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Servers send up to 64 KiB in a message; ten times ten of that is an attack or a bug. */
const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;
/** Output that waits here for its reader: more, and the socket is not read until it is half. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** How long the server may take to close after its status, and after our Close. */
const CLOSE_TIMEOUT_MS = 5_000;
/** Pings keep middle boxes from cutting a silent session and find a server that is gone. */
const PING_INTERVAL_MS = 30_000;
/** Pings without anything received before the server counts as gone: two and a half minutes of a stopped daemon are survived. */
const MAX_UNANSWERED_PINGS = 5;
/** An error body of the streaming server is one sentence. */
const MAX_ERROR_BODY_BYTES = 1024;
const CLOSE_NORMAL = 1000;
const CLOSE_ABNORMAL = 1006;

/**
 * Connects. Resolves once the server has accepted.
 * @throws AttachRefused when the server answered with an HTTP error; the signal's reason; StreamLost when nobody answered.
 */
export async function attachStream<In extends boolean = false, Out extends boolean = true, Err extends boolean = false>(
  url: string,
  options?: AttachStreamOptions<In, Out, Err>,
): Promise<AttachSession<In, Out, Err>>;
export async function attachStream(url: string, options: AttachStreamOptions = {}): Promise<AttachSession> {
  options.signal?.throwIfAborted();
  const target = new URL(url);
  target.protocol = target.protocol === 'https:' ? 'wss:' : 'ws:';
  if (options.from === 'start') target.searchParams.set('from', 'start');
  const socket = new WebSocket(target, [PROTOCOL.name], {
    perMessageDeflate: false,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    maxPayload: MAX_MESSAGE_BYTES,
    ...tlsOptions(options.tls),
  });
  // Everything is registered before the first byte can arrive: output may stand behind the handshake in the same packet.
  const session = new Session(socket, options);
  await opened(socket, options.signal);
  return session;
}

/** As the TLS library wants them: it takes buffers, not every array of bytes. */
function tlsOptions(tls: ClientTls = {}): { readonly [name: string]: string | Buffer } {
  return Object.fromEntries(Object.entries(tls).map(([name, pem]) => [name, typeof pem === 'string' ? pem : Buffer.from(pem)]));
}

async function opened(socket: WebSocket, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal?.reason instanceof Error ? signal.reason : new DOMException('aborted', 'AbortError'));
  signal?.addEventListener('abort', abort, { once: true });
  socket.once('open', resolve);
  socket.once('error', (error) => reject(new StreamLost(`cannot connect: ${error.message}`, CLOSE_ABNORMAL, { cause: error })));
  socket.once('unexpected-response', (_request: unknown, response: IncomingMessage) => {
    void readBody(response).then((body) => {
      const said = body === '' ? (response.statusMessage ?? '') : body;
      reject(new AttachRefused(response.statusCode ?? 0, `the streaming server answered ${response.statusCode ?? 0}: ${said}`));
    });
  });
  try {
    await promise;
  } catch (error) {
    socket.terminate();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = '';
  try {
    for await (const chunk of response) {
      body += String(chunk);
      if (body.length > MAX_ERROR_BODY_BYTES) break;
    }
  } catch {
    // The status line has said what matters.
  }
  return body.trim().slice(0, MAX_ERROR_BODY_BYTES);
}

/** A Failure is one, unless it is a program's own exit code. */
const failureOf = (end: SessionEnd): SessionFailed | undefined =>
  end.kind === 'status' && end.status.status === 'Failure' && end.exitCode === undefined
    ? new SessionFailed(end.status)
    : undefined;

/** connecting -> open -> (status came | detached | lost) -> closed; `#end` is set once and decides. */
class Session implements AttachSession {
  readonly stdin: Input | undefined;
  readonly stdout: Output | undefined;
  readonly stderr: Output | undefined;
  readonly ended: Promise<SessionEnd>;
  readonly #socket: WebSocket;
  readonly #settle: { resolve(end: SessionEnd): void; reject(error: Error): void };
  readonly #pings: NodeJS.Timeout;
  readonly #signal: AbortSignal | undefined;
  #unanswered = 0;
  #over = false;
  #lastError: Error | undefined;

  constructor(socket: WebSocket, options: AttachStreamOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<SessionEnd>();
    this.#socket = socket;
    this.#settle = { resolve, reject };
    this.ended = promise;
    // A caller that only reads the streams gets the error there; this must not end its process.
    promise.catch(() => {});
    const taken = (): void => this.#resume();
    if (options.stdout !== false) this.stdout = new Output(taken);
    if (options.stderr === true) this.stderr = new Output(taken);
    if (options.stdin === true) {
      this.stdin = new Input({
        send: (bytes, sent) => this.#send(encodeMessage(PROTOCOL, CHANNEL.stdin, bytes), sent),
        buffered: () => socket.bufferedAmount,
        close: (sent) => this.#send(encodeClose(CHANNEL.stdin), sent),
      });
      // Input that nobody takes any more is no failure of the session: `ended` says how that went.
      this.stdin.on('error', () => {});
    }
    this.#signal = options.signal;
    this.#signal?.addEventListener('abort', this.detach, { once: true });
    this.#pings = setInterval(() => this.#ping(), PING_INTERVAL_MS).unref();
    socket.on('message', (data) => this.#receive(data as Buffer));
    socket.on('pong', () => {
      this.#unanswered = 0;
    });
    socket.on('error', (error) => {
      this.#lastError = error;
    });
    socket.on('close', (code) => this.#closed(code));
  }

  resize(columns: number, rows: number): void {
    if (columns < 1 || rows < 1) return;
    this.#send(encodeMessage(PROTOCOL, CHANNEL.resize, encodeSize({ columns, rows })), () => {});
  }

  readonly detach = (): void => {
    if (this.#over) return;
    this.#finish({ kind: 'detached' });
    this.#socket.resume();
    this.#close();
  };

  #send(message: Uint8Array | string, sent: (error?: Error | null) => void): void {
    if (this.#over || this.#socket.readyState !== WebSocket.OPEN) sent(new StreamLost('the session has ended', CLOSE_NORMAL));
    else this.#socket.send(message, sent);
  }

  #receive(data: Buffer): void {
    this.#unanswered = 0;
    if (this.#over) return;
    const message = decodeMessage(PROTOCOL, data);
    if (message === undefined) return;
    if (message.channel === CHANNEL.stdout) this.stdout?.add(message.payload);
    else if (message.channel === CHANNEL.stderr) this.stderr?.add(message.payload);
    else if (message.channel === CHANNEL.status) {
      const status = decodeStatus(PROTOCOL, message.payload);
      if (status !== undefined) this.#finish({ kind: 'status', status, exitCode: exitCodeOf(status, 'attach') });
      return;
    }
    if (this.#waiting() > MAX_WAITING_BYTES) this.#socket.pause();
  }

  #waiting(): number {
    return (this.stdout?.waiting ?? 0) + (this.stderr?.waiting ?? 0);
  }

  #resume(): void {
    if (this.#socket.isPaused && this.#waiting() <= MAX_WAITING_BYTES / 2) this.#socket.resume();
  }

  #finish(end: SessionEnd): void {
    this.#over = true;
    const failed = failureOf(end);
    this.stdout?.finish(failed);
    this.stderr?.finish(failed);
    this.stdin?.destroy();
    if (failed === undefined) this.#settle.resolve(end);
    else this.#settle.reject(failed);
    // The server closes behind its status; if it does not, nobody waits for it.
    setTimeout(() => this.#socket.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  #close(): void {
    if (this.#socket.readyState === WebSocket.CONNECTING) this.#socket.terminate();
    else this.#socket.close(CLOSE_NORMAL);
  }

  #closed(code: number): void {
    clearInterval(this.#pings);
    this.#signal?.removeEventListener('abort', this.detach);
    if (this.#over) return;
    this.#over = true;
    const why = this.#lastError === undefined ? '' : `: ${this.#lastError.message}`;
    const lost = new StreamLost(`the connection ended (code ${code}) before the session's status came${why}`, code, {
      cause: this.#lastError,
    });
    this.stdout?.finish(lost);
    this.stderr?.finish(lost);
    this.stdin?.destroy();
    this.#settle.reject(lost);
  }

  #ping(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    // While the socket is not read, its pongs are not either.
    if (this.#socket.isPaused) this.#unanswered = 0;
    if (this.#unanswered >= MAX_UNANSWERED_PINGS) {
      this.#lastError = new Error('the server does not answer any more');
      this.#socket.terminate();
      return;
    }
    this.#unanswered += 1;
    this.#socket.ping();
  }
}
