// One forwarded connection as a stream of Node's: the data stream of a pair, with the error stream beside it.

import { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';
import { ownMemory, ownMemoryIfShort } from '../../util/own-memory.ts';
import { Fifo } from '../fifo.ts';
import { PENDING_ENTRY_COST_BYTES } from '../limits.ts';
import type { SpdyStream } from './stream.ts';

/** What a forwarded connection needs of its session. */
export type ForwardWire = {
  /** Whether there is room for output. Where not, `writeHeld` is called once there is, in turn with the other connections. */
  mayWrite(data: ForwardedData): boolean;
  /** The connection is gone: it waits for no room any more. */
  gone(data: ForwardedData): void;
  /** Input waits, or has been taken: so many bytes more or less. */
  queued(data: ForwardedData, change: number): void;
};

/** Kept by Node's own buffers in each direction; what is beyond waits here, counted. */
const HIGH_WATER_BYTES = 64 * 1024;

/** Queued pieces are put together until they have so many bytes. */
const RUN_BYTES = 8 * 1024;

/**
 * Readable: what the client sends, to its FIN; all of it is taken, as SPDY cannot hold one stream back, and what nobody reads is
 * queued. Writable: what goes to the client; `end()` ends our half, and the error stream with it: success. `destroy()` resets.
 */
export class ForwardedData extends Duplex {
  readonly #data: SpdyStream;
  #error: SpdyStream | undefined;
  readonly #wire: ForwardWire;
  readonly #queue = new Fifo<Buffer>();
  #queuedBytes = 0;
  /** Output that waits for room, and what tells Node that it has gone. */
  #held: { readonly chunk: Buffer; readonly done: () => void } | undefined;
  #wanted = false;
  #clientEnded = false;
  /** The client is gone; what it has sent is still read. */
  #orphan = false;

  /** Accepts the stream. */
  constructor(stream: SpdyStream, wire: ForwardWire) {
    super({ allowHalfOpen: true, highWaterMark: HIGH_WATER_BYTES });
    this.#data = stream;
    this.#wire = wire;
    stream.accept({
      data: (piece) => this.#received(piece),
      end: () => this.#receivedEnd(),
      reset: () => this.destroy(),
    });
  }

  /** Gives it the error stream, without which it is no connection yet. */
  pairWith(error: SpdyStream): void {
    if (this.destroyed) error.reset();
    else this.#error = error;
  }

  /** Bytes that wait, with the cost of holding them. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Reports why the connection cannot be served, and ends it. */
  fail(message: string): void {
    if (this.destroyed) return;
    this.#error?.end(Buffer.from(message));
    this.destroy();
  }

  #received(piece: Buffer): void {
    if (this.destroyed || this.#clientEnded) return;
    if (this.#wanted && this.#queue.length === 0) {
      this.#wanted = false;
      this.push(ownMemoryIfShort(piece));
      return;
    }
    this.#queue.push(ownMemory(piece));
    this.#count(piece.length + PENDING_ENTRY_COST_BYTES);
  }

  #receivedEnd(): void {
    this.#clientEnded = true;
    if (this.#queue.length === 0 && !this.destroyed) this.push(null);
  }

  /** The client is gone. True where there is still input to be read, up to its end: then the connection lives until that has been read. */
  abandon(): boolean {
    if (this.destroyed || !this.#clientEnded || this.readableEnded) {
      this.destroy();
      return false;
    }
    this.#orphan = true;
    this.once('end', () => this.destroy());
    return true;
  }

  override _read(): void {
    const run: Buffer[] = [];
    let bytes = 0;
    // Small pieces become one: Node's buffer counts bytes, not pieces.
    while (this.#queue.length > 0 && bytes < RUN_BYTES) {
      const piece = this.#queue.shift() as Buffer;
      run.push(piece);
      bytes += piece.length;
    }
    if (run.length > 0) {
      this.#count(-bytes - run.length * PENDING_ENTRY_COST_BYTES);
      this.push(run.length === 1 ? run[0] : ownMemoryIfShort(Buffer.concat(run, bytes)));
    } else if (this.#clientEnded) this.push(null);
    else this.#wanted = true;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#orphan) return done();
    this.#held = { chunk, done };
    if (this.#wire.mayWrite(this)) this.writeHeld();
  }

  /** There is room for what waits. */
  writeHeld(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined) return;
    this.#data.write(held.chunk);
    held.done();
  }

  override _final(done: () => void): void {
    this.#data.end();
    this.#error?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#queue.clear();
    this.#count(-this.#queuedBytes);
    this.#wire.gone(this);
    this.#held = undefined;
    this.#error?.end();
    // Nothing happens to a stream whose halves have both ended.
    this.#data.reset();
    this.#error?.reset();
    done(error);
  }

  #count(change: number): void {
    if (change === 0) return;
    this.#queuedBytes += change;
    this.#wire.queued(this, change);
  }
}
