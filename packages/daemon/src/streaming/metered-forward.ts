/** The same for port-forward: counts what passes through forwarded connections, and can end them all. */
import type { Duplex } from 'node:stream';
import type { ForwardedConnection, PortForwardHandlers, PortForwardTransport } from '../transport/port-forward.ts';
import { Deadline } from '../util/deadline.ts';
import { KILL_GRACE_MS, type Killable, killedMessage, type SessionMeter } from './session-meter.ts';
import { failure } from './session-status.ts';
import { watchData } from './watch-data.ts';

export class MeteredForwardTransport implements PortForwardTransport, Killable {
  readonly protocol: string;
  readonly #inner: PortForwardTransport;
  readonly #meter: SessionMeter;
  readonly #graceMs: number;
  readonly #open = new Set<ForwardedConnection>();
  #handlers: PortForwardHandlers | undefined;
  #finished: Promise<void> | undefined;
  #over = false;

  /** The grace is given by tests only. */
  constructor(inner: PortForwardTransport, meter: SessionMeter, graceMs: number = KILL_GRACE_MS) {
    this.protocol = inner.protocol;
    this.#inner = inner;
    this.#meter = meter;
    this.#graceMs = graceMs;
  }

  start(handlers: PortForwardHandlers): void {
    this.#handlers = handlers;
    this.#inner.start({
      connection: (connection) => this.#connected(connection, handlers),
      closed: (reason) => {
        if (this.#over) return;
        this.#over = true;
        this.#meter.lost = reason;
        handlers.closed(reason);
      },
    });
    if (this.#meter.killedBy !== undefined) queueMicrotask(() => this.#tellKilled());
  }

  finish(): Promise<void> {
    this.#over = true;
    this.#finished ??= this.#inner.finish();
    return this.#finished;
  }

  destroy(): void {
    if (!this.#over) this.#meter.destroyed = true;
    this.#inner.destroy();
  }

  /** Every connection gets the sentence on its error stream. */
  kill(by: string): void {
    if (this.#over) return this.#inner.destroy();
    this.#meter.killedBy = by;
    this.#meter.told = failure('SessionKilled', killedMessage(by));
    const open = [...this.#open];
    for (const connection of open) connection.fail(killedMessage(by));
    const finished = this.finish();
    const grace = new Deadline(this.#graceMs, () => this.#inner.destroy());
    // As `closed` promises: no connection outlives it. Not before the sentence has been delivered, or never can be.
    void finished.finally(() => {
      grace.cancel();
      for (const { data } of open) data.destroy();
    });
    this.#tellKilled();
  }

  #connected(connection: ForwardedConnection, handlers: PortForwardHandlers): void {
    this.#meter.connections += 1;
    this.#open.add(connection);
    connection.data.once('close', () => this.#open.delete(connection));
    count(connection.data, this.#meter);
    handlers.connection(connection);
  }

  #tellKilled(): void {
    this.#handlers?.closed(`killed by ${this.#meter.killedBy}`);
  }
}

function count(data: Duplex, meter: SessionMeter): void {
  // What came before the connection was handed on.
  meter.input += data.readableLength;
  watchData(
    data,
    (bytes) => {
      meter.input += bytes;
    },
    (bytes) => {
      meter.forwarded += bytes;
      if (bytes > 0 && meter.firstOutputAt === 0) meter.firstOutputAt = performance.now();
    },
  );
}
