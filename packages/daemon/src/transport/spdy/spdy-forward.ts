// One client of port-forward on SPDY: pairs of streams become forwarded connections that share what the client can take.

import type { ByteChannel } from '../byte-channel.ts';
import { LOST_CLIENT_INPUT_MS } from '../limits.ts';
import type { PortForwardHandlers, PortForwardTransport } from '../port-forward.ts';
import { SpdyConnection } from './connection.ts';
import { RST_STATUS, STREAM_CREATION_MS } from './constants.ts';
import { ForwardPairs } from './forward-pairs.ts';
import { ForwardedData, type ForwardWire } from './forwarded-data.ts';
import type { SpdyStream } from './stream.ts';

/** What clients ask for in `X-Stream-Protocol-Version`. There is one version. */
export const FORWARD_PROTOCOL = 'portforward.k8s.io';

/** Connections at one time of one client; what a session may have in fact is the handler's to say, in words. */
const MAX_CONNECTIONS = 4096;
const STREAMS_PER_CONNECTION = 2;

/**
 * Input that may wait for a program that does not read, for one connection and for all of a session. SPDY has no flow control: beyond it
 * nothing is read from the client, so that its other connections wait as well. Enough for what a program gets while it is busy for some
 * seconds, little enough that a session cannot eat the daemon's memory.
 */
export const MAX_CONNECTION_INPUT_BYTES = 8 * 1024 * 1024;
export const MAX_SESSION_INPUT_BYTES = 32 * 1024 * 1024;

/** Limits and waiting times; others by tests only. */
export type ForwardLimits = {
  readonly connectionBytes: number;
  readonly sessionBytes: number;
  readonly maxConnections: number;
  readonly pairMs: number;
  readonly lostInputMs: number;
};

const LIMITS: ForwardLimits = {
  connectionBytes: MAX_CONNECTION_INPUT_BYTES,
  sessionBytes: MAX_SESSION_INPUT_BYTES,
  maxConnections: MAX_CONNECTIONS,
  pairMs: STREAM_CREATION_MS,
  lostInputMs: LOST_CLIENT_INPUT_MS,
};

/**
 *   open --finish()--> finishing
 *    +--the client's end, fault or loss; destroy()--> leaving --input that was ended has been read--> lost
 *
 * `finishing`: no connection is taken, output that waits still goes. `lost`: `closed` has been said. The end of the connection itself
 * comes in each of them.
 */
type State = 'open' | 'finishing' | 'leaving' | 'lost';

export class SpdyForward implements PortForwardTransport {
  readonly protocol: string;
  readonly #channel: ByteChannel;
  readonly #limits: ForwardLimits;
  readonly #connection: SpdyConnection;
  readonly #pairs: ForwardPairs;
  readonly #connections = new Set<ForwardedData>();
  readonly #gone = Promise.withResolvers<void>();
  readonly #wire: ForwardWire = {
    mayWrite: (data) => this.#mayWrite(data),
    gone: (data) => this.#writers.delete(data),
    queued: (data, change) => this.#queued(data, change),
  };
  /** Connections that wait for room, the one that has waited longest first. */
  readonly #writers = new Set<ForwardedData>();
  /** Connections with too much input, until they have half of it. */
  readonly #overfull = new Set<ForwardedData>();
  #queuedBytes = 0;
  #sessionOverfull = false;
  #handlers: PortForwardHandlers | undefined;
  #begun = false;
  #state: State = 'open';
  #lossReason = 'connection lost';

  /** `protocol`: its name in logs and metrics. */
  constructor(channel: ByteChannel, protocol: string, limits: ForwardLimits = LIMITS) {
    this.protocol = protocol;
    this.#channel = channel;
    this.#limits = limits;
    this.#pairs = new ForwardPairs((stream) => this.#makeData(stream), limits.pairMs);
    this.#connection = new SpdyConnection(
      channel,
      { maxStreams: limits.maxConnections * STREAMS_PER_CONNECTION },
      {
        stream: (stream) => this.#opened(stream),
        flush: () => undefined,
        drain: () => this.#letWrite(),
        lost: (reason) => this.#leave(reason),
        closed: () => this.#gone.resolve(),
      },
    );
  }

  start(handlers: PortForwardHandlers): void {
    this.#handlers = handlers;
    this.#begin();
  }

  finish(): Promise<void> {
    this.#begin();
    this.#handlers = undefined;
    if (this.#state === 'open') {
      this.#state = 'finishing';
      this.#pairs.clear();
      this.#channel.giveUpWhenStuck();
      void this.#finish();
    } else if (this.#state === 'leaving') this.#destroyAll();
    return this.#gone.promise;
  }

  destroy(): void {
    if (this.#state === 'open') this.#lossReason = 'ended by the server';
    this.#connection.destroy();
    this.#destroyAll();
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#connection.start();
  }

  #opened(stream: SpdyStream): void {
    if (this.#state !== 'open' || this.#connections.size + this.#pairs.size > this.#limits.maxConnections) {
      return stream.reset(RST_STATUS.refusedStream);
    }
    const pair = this.#pairs.add(stream);
    if (pair === undefined || this.#handlers === undefined) return;
    const { port, data } = pair;
    if (!data.destroyed) this.#handlers.connection({ port, data, fail: (message) => data.fail(message) });
  }

  #makeData(stream: SpdyStream): ForwardedData {
    const data = new ForwardedData(stream, this.#wire);
    this.#connections.add(data);
    data.once('close', () => this.#connections.delete(data));
    return data;
  }

  #mayWrite(data: ForwardedData): boolean {
    // Room may come bit by bit before those that wait are told of it.
    if (!this.#sending || (this.#writers.size === 0 && !this.#connection.full)) return true;
    this.#writers.add(data);
    return false;
  }

  #letWrite(): void {
    // One that writes again at once is added behind the others, and comes up in the same loop.
    for (const data of this.#writers) {
      if (this.#sending && this.#connection.full) return;
      this.#writers.delete(data);
      data.writeHeld();
    }
  }

  /** Whether what is written still goes to the client. */
  get #sending(): boolean {
    return this.#state === 'open' || this.#state === 'finishing';
  }

  #queued(data: ForwardedData, change: number): void {
    const { connectionBytes, sessionBytes } = this.#limits;
    this.#queuedBytes += change;
    if (data.queuedBytes > connectionBytes) this.#overfull.add(data);
    else if (data.queuedBytes <= connectionBytes / 2) this.#overfull.delete(data);
    if (this.#queuedBytes > sessionBytes) this.#sessionOverfull = true;
    else if (this.#queuedBytes <= sessionBytes / 2) this.#sessionOverfull = false;
    if (this.#sessionOverfull || this.#overfull.size > 0) this.#connection.pause();
    else this.#connection.resume();
  }

  async #finish(): Promise<void> {
    const delivered = [...this.#connections].map(
      (data) =>
        new Promise<void>((resolve) => {
          if (data.destroyed || data.writableFinished) return resolve();
          data.once('finish', resolve).once('close', resolve);
          if (!data.writableEnded) data.end();
        }),
    );
    await Promise.all(delivered);
    this.#connection.end();
    this.#destroyAll();
  }

  /** The client is gone. What it has sent and ended is still read; there is no client for anything else. */
  #leave(reason: string): void {
    if (this.#state === 'finishing') return this.#destroyAll();
    if (this.#state !== 'open') return;
    this.#state = 'leaving';
    if (this.#lossReason !== 'ended by the server') this.#lossReason = reason;
    this.#pairs.clear();
    this.#letWrite();
    const left = new Set([...this.#connections].filter((data) => data.abandon()));
    if (left.size === 0) return this.#tell();
    const timer = setTimeout(() => this.#tell(), this.#limits.lostInputMs).unref();
    for (const data of left) {
      data.once('close', () => {
        left.delete(data);
        if (left.size > 0) return;
        clearTimeout(timer);
        this.#tell();
      });
    }
  }

  #tell(): void {
    if (this.#state !== 'leaving') return;
    this.#state = 'lost';
    this.#destroyAll();
    this.#handlers?.closed(this.#lossReason);
  }

  #destroyAll(): void {
    this.#pairs.clear();
    for (const data of this.#connections) data.destroy();
  }
}
