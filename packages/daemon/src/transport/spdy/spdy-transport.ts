// One client of attach or exec on SPDY: joins the connection's streams, the input queue and the output into a `Transport`.

import type { Buffer } from 'node:buffer';
import { encodeStatus, SizeDecoder } from '@berth/attach-protocol';
import { Deadline } from '../../util/deadline.ts';
import type { ByteChannel } from '../byte-channel.ts';
import { InputQueue } from '../input-queue.ts';
import { LOST_CLIENT_INPUT_MS, MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import type { OutputStream, SessionStatus, Transport, TransportHandlers } from '../transport.ts';
import type { RequestedStreams } from '../upgrade.ts';
import { wireStatus } from '../wire-status.ts';
import { SpdyConnection } from './connection.ts';
import { MAX_SESSION_STREAMS, RST_STATUS, STREAM_CREATION_MS, UNREAD_SIGN_MS } from './constants.ts';
import { GatedOutput } from './gated-output.ts';
import type { SessionProtocol } from './session-protocols.ts';
import type { SpdyStream, StreamEvents } from './stream.ts';

/** An upgraded connection: the 101 has been written to it. */
export type SpdySession = {
  readonly channel: ByteChannel;
  readonly protocol: SessionProtocol;
  readonly requested: RequestedStreams;
};

/** Waiting times, by tests only. */
export type SpdyTimes = {
  readonly streamsMs: number;
  readonly lastStreamMs: number;
  readonly unreadSignMs: number;
  readonly lostInputMs: number;
};

/**
 * How long the stream for sizes is waited for behind the others where a terminal was asked for. It usually comes at once; kubelet also
 * asks for a terminal when its client has none and opens no such stream. A client that still opens it must not see the connection end.
 */
const LAST_STREAM_MS = 2_000;
/** Frames that go out meanwhile: Go's client has room for 50. */
const EARLY_FRAMES = 32;

const TIMES: SpdyTimes = {
  streamsMs: STREAM_CREATION_MS,
  lastStreamMs: LAST_STREAM_MS,
  unreadSignMs: UNREAD_SIGN_MS,
  lostInputMs: LOST_CLIENT_INPUT_MS,
};

/** What the header `streamtype` may say. */
const KINDS = ['error', 'stdin', 'stdout', 'stderr', 'resize'] as const;
type Kind = (typeof KINDS)[number];

/**
 *   open --finish()--> finishing --the client closes, or takes nothing--> closed
 *    |                                                                      ^
 *    +--the client's end, fault, loss; no streams in time; destroy()--> lost
 *
 * `finishing`: input is thrown away; once all streams are there, output, ends and status are on their way. `lost`: `closed` has been or
 * will be said, after the input that came before.
 */
type State = 'open' | 'finishing' | 'lost' | 'closed';

export class SpdyTransport implements Transport {
  readonly protocol: string;
  readonly #protocol: SessionProtocol;
  readonly #requested: RequestedStreams;
  readonly #times: SpdyTimes;
  readonly #connection: SpdyConnection;
  readonly #streams = new Map<Kind, SpdyStream>();
  readonly #output: GatedOutput;
  readonly #input: InputQueue;
  readonly #sizes = new SizeDecoder();
  readonly #gone = Promise.withResolvers<void>();
  #handlers: TransportHandlers | undefined;
  #state: State = 'open';
  #begun = false;
  /** The client has opened all streams that it will open. */
  #complete = false;
  #timer: Deadline | undefined;
  #status: SessionStatus | undefined;
  #wantsDrain = false;
  #lossReason = 'connection lost';

  constructor({ channel, protocol, requested }: SpdySession, times: SpdyTimes = TIMES) {
    this.protocol = `SPDY/3.1 ${protocol.name}`;
    this.#protocol = protocol;
    this.#requested = requested;
    this.#times = times;
    this.#output = new GatedOutput((stream, chunk) => this.#streams.get(stream)?.write(chunk));
    this.#input = new InputQueue(
      {
        stdin: (chunk) => this.#handlers?.stdin(chunk),
        stdinEof: () => this.#handlers?.stdinEof(),
        closed: (reason) => this.#handlers?.closed(reason),
      },
      times.lostInputMs,
    );
    this.#connection = new SpdyConnection(
      channel,
      { maxStreams: MAX_SESSION_STREAMS, unreadSignMs: times.unreadSignMs, lostInputMs: times.lostInputMs },
      {
        stream: (stream) => this.#opened(stream),
        flush: () => this.#flush(),
        drain: () => this.#drained(),
        lost: (reason) => this.#lost(reason),
        closed: () => this.#closed(),
      },
    );
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#begin();
  }

  write(stream: OutputStream, chunk: Uint8Array): boolean {
    if (this.#state !== 'open' || !this.#requested[stream] || chunk.length === 0) return true;
    this.#output.write(stream, chunk);
    if (!this.#full) return true;
    this.#wantsDrain = true;
    return false;
  }

  get flushed(): boolean {
    return this.#output.empty && this.#connection.idle;
  }

  unsent(): Promise<number> {
    return this.#connection.unsent();
  }

  pauseInput(): void {
    this.#input.pause();
  }

  resumeInput(): void {
    this.#input.resume();
    if (this.#input.bytes <= MAX_PENDING_INPUT_BYTES / 2) this.#connection.resume();
  }

  finish(status: SessionStatus): Promise<void> {
    this.#input.stop();
    // A session that has failed before it began is told of all the same.
    this.#begin();
    if (this.#state === 'open') {
      this.#state = 'finishing';
      this.#status = status;
      // What comes now is thrown away; nothing may wait behind it.
      this.#connection.resume();
      if (this.#complete) this.#conclude(status);
    }
    return this.#gone.promise;
  }

  destroy(): void {
    if (this.#state === 'open') {
      this.#state = 'lost';
      this.#lossReason = 'ended by the server';
    }
    this.#input.discard();
    this.#connection.destroy();
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#timer = new Deadline(this.#times.streamsMs, () => this.#late()).unref();
    this.#connection.start();
  }

  get #full(): boolean {
    return this.#output.full || this.#connection.full;
  }

  #opened(stream: SpdyStream): void {
    const kind = KINDS.find((each) => each === stream.headers.get('streamtype'));
    if (kind === undefined || this.#streams.has(kind)) return stream.reset(RST_STATUS.protocolError);
    this.#streams.set(kind, stream);
    stream.accept(this.#eventsOf(kind));
    if (!this.#isRequested(kind)) stream.end();
    this.#look();
  }

  #isRequested(kind: Kind): boolean {
    return kind === 'error' || kind === 'resize' || this.#requested[kind];
  }

  #eventsOf(kind: Kind): StreamEvents {
    const ignore = (): void => undefined;
    if (kind === 'stdin' && this.#requested.stdin) {
      const eof = (): void => void (this.#state === 'open' && this.#input.eof());
      return { data: (piece) => this.#state === 'open' && this.#input.push(piece), end: eof, reset: eof };
    }
    if (kind === 'resize') return { data: (piece) => this.#resize(piece), end: ignore, reset: ignore };
    return { data: ignore, end: ignore, reset: ignore };
  }

  /** Whether all streams are there that the client must open, and then whether one may still come. */
  #look(): void {
    if (this.#complete) return;
    const { stdin, stdout, stderr, tty } = this.#requested;
    // With a terminal, clients open stderr or not, by whether they know of the terminal.
    const needed: Record<Kind, boolean> = { error: true, stdin, stdout, stderr: stderr && !tty, resize: false };
    if (KINDS.some((kind) => needed[kind] && !this.#streams.has(kind))) return;
    // A client opens either stderr or, with a terminal of its own, the stream for sizes.
    const lastIsThere = this.#streams.has('resize') || this.#streams.has('stderr');
    if (!tty || !this.#protocol.resize || lastIsThere) return this.#allThere();
    this.#timer?.cancel();
    this.#timer = new Deadline(this.#times.lastStreamMs, () => this.#allThere()).unref();
    this.#output.admit(EARLY_FRAMES);
    this.#drained();
  }

  #allThere(): void {
    this.#timer?.cancel();
    this.#complete = true;
    this.#output.admit(Number.POSITIVE_INFINITY);
    if (this.#status !== undefined) this.#conclude(this.#status);
    else this.#drained();
  }

  #late(): void {
    const message = `the client has not opened its streams within ${this.#times.streamsMs / 1000} s`;
    const open = this.#state === 'open';
    this.#conclude(this.#status ?? { status: 'Failure', reason: 'InternalError', message, code: 500 });
    if (!open) return;
    this.#state = 'lost';
    this.#lossReason = message;
    this.#input.close(this.#lossReason);
  }

  /** The order that clients rely on: all output, the ends of the streams, the status, the end of the connection. */
  #conclude(status: SessionStatus): void {
    for (const kind of ['stdin', 'stdout', 'stderr'] as const) this.#streams.get(kind)?.end();
    this.#streams.get('error')?.end(encodeStatus(this.#protocol, wireStatus(status)));
    // One that lacks streams would not know that it is over.
    this.#connection.end(this.#complete ? 'theirs' : 'ours');
  }

  #flush(): void {
    this.#input.flush();
    if (this.#input.bytes > MAX_PENDING_INPUT_BYTES && this.#state === 'open') this.#connection.pause();
  }

  /** Overtakes input that waits for the container, but not input that need not wait. */
  #resize(piece: Buffer): void {
    if (this.#state !== 'open') return;
    this.#input.flush();
    for (const size of this.#sizes.push(piece)) this.#handlers?.resize(size);
  }

  #drained(): void {
    if (!this.#wantsDrain || this.#full || this.#state !== 'open') return;
    this.#wantsDrain = false;
    this.#handlers?.drain();
  }

  #lost(reason: string): void {
    this.#timer?.cancel();
    if (this.#state === 'open') {
      this.#state = 'lost';
      this.#lossReason = reason;
    }
    this.#output.discard();
    if (this.#state === 'lost') this.#input.close(this.#lossReason);
  }

  #closed(): void {
    this.#timer?.cancel();
    this.#state = 'closed';
    this.#gone.resolve();
  }
}
