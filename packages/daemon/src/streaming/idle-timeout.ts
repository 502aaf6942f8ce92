// Ends sessions over which no data has moved for a while: a wrapper around their transport, of which neither the session nor the transport knows.

import type { Duplex } from 'node:stream';
import type { ForwardedConnection, PortForwardHandlers, PortForwardTransport } from '../transport/port-forward.ts';
import type { OutputStream, SessionStatus, Transport, TransportHandlers } from '../transport/transport.ts';
import { Deadline } from '../util/deadline.ts';
import { watchData } from './watch-data.ts';

/** A clock that is put back by every piece of data; rings once. */
class IdleClock {
  readonly #ms: number;
  readonly #ring: () => void;
  #movedAt = performance.now();
  #timer: Deadline | undefined;

  constructor(ms: number, ring: () => void) {
    this.#ms = ms;
    this.#ring = ring;
  }

  start(): void {
    this.#movedAt = performance.now();
    this.#arm(this.#ms);
  }

  /** Cheap: it is called for every chunk, so it moves no timer. */
  moved(): void {
    this.#movedAt = performance.now();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #arm(ms: number): void {
    this.#timer = new Deadline(Math.ceil(ms), () => {
      const left = this.#movedAt + this.#ms - performance.now();
      if (left > 0) this.#arm(left);
      else this.#ring();
    }).unref();
  }
}

/**
 * Lets a session end with a Failure status with reason `IdleTimeout` once neither input nor output has moved for `ms`. Pings, pongs and
 * resizes are none; output that the client does not take, and input that the container does not, do not move. For the session the client
 * has gone then. With 0 the transport comes back as it is.
 */
export function endWhenIdle(transport: Transport, ms: number): Transport {
  return ms === 0 ? transport : new IdleTransport(transport, ms);
}

/** The same for port-forward: every connection gets the reason on its error stream. */
export function endForwardWhenIdle(transport: PortForwardTransport, ms: number): PortForwardTransport {
  return ms === 0 ? transport : new IdleForwardTransport(transport, ms);
}

const explain = (ms: number): string => `no data has moved for ${ms / 1000} s: the session was ended (streaming.idle_timeout_ms)`;

class IdleTransport implements Transport {
  readonly #inner: Transport;
  readonly #ms: number;
  readonly #clock: IdleClock;
  #handlers: TransportHandlers | undefined;
  #over = false;

  constructor(inner: Transport, ms: number) {
    this.#inner = inner;
    this.#ms = ms;
    this.#clock = new IdleClock(ms, () => this.#idle());
  }

  get protocol(): string {
    return this.#inner.protocol;
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#clock.start();
    this.#inner.start({
      stdin: (chunk) => {
        this.#clock.moved();
        handlers.stdin(chunk);
      },
      stdinEof: () => handlers.stdinEof(),
      resize: (size) => handlers.resize(size),
      drain: () => {
        this.#clock.moved();
        handlers.drain();
      },
      closed: (reason) => {
        this.#clock.stop();
        if (!this.#over) handlers.closed(reason);
      },
    });
  }

  write(stream: OutputStream, chunk: Uint8Array): boolean {
    if (chunk.length > 0) this.#clock.moved();
    return this.#inner.write(stream, chunk);
  }

  get flushed(): boolean {
    return this.#inner.flushed;
  }

  unsent(): Promise<number> {
    return this.#inner.unsent();
  }

  pauseInput(): void {
    this.#inner.pauseInput();
  }

  resumeInput(): void {
    this.#inner.resumeInput();
  }

  finish(status: SessionStatus): Promise<void> {
    this.#over = true;
    this.#clock.stop();
    return this.#inner.finish(status);
  }

  destroy(): void {
    this.#clock.stop();
    this.#inner.destroy();
  }

  #idle(): void {
    if (this.#over) return;
    void this.finish({ status: 'Failure', reason: 'IdleTimeout', message: explain(this.#ms), code: 500 });
    this.#handlers?.closed('idle time-out');
  }
}

class IdleForwardTransport implements PortForwardTransport {
  readonly #inner: PortForwardTransport;
  readonly #ms: number;
  readonly #clock: IdleClock;
  readonly #open = new Set<ForwardedConnection>();
  #handlers: PortForwardHandlers | undefined;
  #over = false;

  constructor(inner: PortForwardTransport, ms: number) {
    this.#inner = inner;
    this.#ms = ms;
    this.#clock = new IdleClock(ms, () => this.#idle());
  }

  get protocol(): string {
    return this.#inner.protocol;
  }

  start(handlers: PortForwardHandlers): void {
    this.#handlers = handlers;
    this.#clock.start();
    this.#inner.start({
      connection: (connection) => {
        this.#clock.moved();
        this.#open.add(connection);
        connection.data.once('close', () => this.#open.delete(connection));
        whenDataMoves(connection.data, () => this.#clock.moved());
        handlers.connection(connection);
      },
      closed: (reason) => {
        this.#clock.stop();
        if (!this.#over) handlers.closed(reason);
      },
    });
  }

  finish(): Promise<void> {
    this.#over = true;
    this.#clock.stop();
    return this.#inner.finish();
  }

  destroy(): void {
    this.#clock.stop();
    this.#inner.destroy();
  }

  #idle(): void {
    if (this.#over) return;
    const open = [...this.#open];
    for (const connection of open) connection.fail(explain(this.#ms));
    // As `closed` promises: no connection outlives it. Not before the reasons have been delivered.
    void this.finish().then(() => {
      for (const { data } of open) data.destroy();
    });
    this.#handlers?.closed('idle time-out');
  }
}

/** Calls `moved` for every piece that goes in or out, and when the client has taken what waited. */
function whenDataMoves(data: Duplex, moved: () => void): void {
  const piece = (bytes: number): void => {
    if (bytes > 0) moved();
  };
  watchData(data, piece, piece);
  data.prependListener('drain', moved);
}
