/** A transport that counts what passes and can be ended from outside; neither the session above it nor the transport below knows of it. */
import type { OutputStream, SessionStatus, Transport, TransportHandlers } from '../transport/transport.ts';
import { Deadline } from '../util/deadline.ts';
import { KILL_GRACE_MS, type Killable, killedMessage, type SessionMeter } from './session-meter.ts';
import { failure } from './session-status.ts';

/** Chunks pass as they are; a chunk costs one more call and one addition. */
export class MeteredTransport implements Transport, Killable {
  readonly protocol: string;
  readonly #inner: Transport;
  readonly #meter: SessionMeter;
  readonly #graceMs: number;
  #handlers: TransportHandlers | undefined;
  #finished: Promise<void> | undefined;
  #over = false;

  /** The grace is given by tests only. */
  constructor(inner: Transport, meter: SessionMeter, graceMs: number = KILL_GRACE_MS) {
    this.protocol = inner.protocol;
    this.#inner = inner;
    this.#meter = meter;
    this.#graceMs = graceMs;
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    const meter = this.#meter;
    this.#inner.start({
      stdin: (chunk) => {
        if (this.#over) return;
        meter.input += chunk.length;
        handlers.stdin(chunk);
      },
      stdinEof: () => {
        if (!this.#over) handlers.stdinEof();
      },
      resize: (size) => {
        if (!this.#over) handlers.resize(size);
      },
      drain: () => {
        if (!this.#over) handlers.drain();
      },
      closed: (reason) => {
        if (this.#over) return;
        this.#over = true;
        meter.lost = reason;
        handlers.closed(reason);
      },
    });
    // Killed before the session was ready: said as any other loss, and not from within this call.
    if (this.#meter.killedBy !== undefined) queueMicrotask(() => this.#tellKilled());
  }

  write(stream: OutputStream, chunk: Uint8Array): boolean {
    const meter = this.#meter;
    if (this.#over || chunk.length === 0) return true;
    if (stream === 'stdout') meter.stdout += chunk.length;
    else meter.stderr += chunk.length;
    if (meter.firstOutputAt === 0) meter.firstOutputAt = performance.now();
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
    if (this.#finished === undefined) {
      if (!this.#over) this.#meter.told = status;
      this.#over = true;
      this.#finished = this.#inner.finish(status);
    }
    return this.#finished;
  }

  destroy(): void {
    if (!this.#over) this.#meter.destroyed = true;
    this.#inner.destroy();
  }

  kill(by: string): void {
    // What is ending anyway waits for its client, for minutes if need be: no longer.
    if (this.#over) return this.#inner.destroy();
    this.#meter.killedBy = by;
    const finished = this.finish(failure('SessionKilled', killedMessage(by)));
    const grace = new Deadline(this.#graceMs, () => this.#inner.destroy());
    void finished.finally(() => grace.cancel());
    this.#tellKilled();
  }

  #tellKilled(): void {
    this.#handlers?.closed(`killed by ${this.#meter.killedBy}`);
  }
}
