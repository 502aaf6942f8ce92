// One forwarded port of a WebSocket: a stream whose input comes from the frame parser and whose output goes to the sender.

import type { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';
import { ownMemory, ownMemoryIfShort } from '../../util/own-memory.ts';
import { Fifo } from '../fifo.ts';
import { PENDING_ENTRY_COST_BYTES } from '../limits.ts';
import { SmallPieces } from '../small-pieces.ts';

/** What a channel needs of its connection. */
export type ChannelWire = {
  /** Sends output; calls back when more may come. */
  send(channel: PortChannel, chunk: Buffer, taken: () => void): void;
  /** Something of the channel has changed: its input was taken, a half has ended, it is gone. */
  changed(channel: PortChannel): void;
};

/** Input is pushed when it is asked for and waits in our own queue otherwise, where what a small piece costs is counted. */
const READABLE_HIGH_WATER = 1;
/** One message. */
const WRITABLE_HIGH_WATER = 64 * 1024;

export class PortChannel extends Duplex {
  readonly port: number;
  /** Place of the port in the call: it has the channels `2 * index` and `2 * index + 1`. */
  readonly index: number;
  readonly #wire: ChannelWire;
  readonly #waiting = new Fifo<Buffer>();
  readonly #small = new SmallPieces();
  #pending = 0;
  #wanted = false;
  #inputEnded = false;
  #outputEnded = false;
  #told = false;

  constructor(port: number, index: number, wire: ChannelWire) {
    super({ allowHalfOpen: true, readableHighWaterMark: READABLE_HIGH_WATER, writableHighWaterMark: WRITABLE_HIGH_WATER });
    this.port = port;
    this.index = index;
    this.#wire = wire;
    // Said a turn later, so that whoever reads has heard of the end as well.
    this.once('end', () => setImmediate(() => wire.changed(this)));
  }

  /** Input that nobody has taken, with the cost of holding it. */
  get pending(): number {
    return this.#pending;
  }

  /** Nothing more is written to the client on this channel. */
  get outputEnded(): boolean {
    return this.#outputEnded || this.destroyed;
  }

  /** Its output has not come to its end, and the client has not been told why. */
  get cutOff(): boolean {
    return this.destroyed && !this.#outputEnded && !this.#told;
  }

  /** Ends it, after the client has been told why. */
  destroyTold(): void {
    this.#told = true;
    this.destroy();
  }

  /** The next bytes of the client; the buffer may be kept. */
  takeInput(piece: Buffer): void {
    if (this.destroyed || this.#inputEnded) return;
    if (this.#small.gather(piece)) return;
    this.flush();
    this.#enqueue(piece);
  }

  /** Hands on what has been gathered: called at the end of every read. */
  flush(): void {
    const chunk = this.#small.take();
    if (chunk !== undefined) this.#enqueue(chunk);
  }

  /** No more input comes; said to the reader behind what waits. */
  endInput(): void {
    if (this.destroyed || this.#inputEnded) return;
    this.flush();
    this.#inputEnded = true;
    if (this.#pending === 0) this.push(null);
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#pending === 0) return;
    while (this.#wanted && this.#waiting.length > 0) {
      const chunk = this.#waiting.shift() as Buffer;
      this.#pending -= chunk.length + PENDING_ENTRY_COST_BYTES;
      this.#wanted = this.push(chunk);
    }
    if (this.#pending === 0 && this.#inputEnded) this.push(null);
    this.#wire.changed(this);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.#wire.send(this, chunk, callback);
  }

  override _final(callback: () => void): void {
    this.#outputEnded = true;
    callback();
    this.#wire.changed(this);
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#forget();
    callback(error);
    this.#wire.changed(this);
  }

  #enqueue(chunk: Buffer): void {
    if (this.#wanted && this.#pending === 0) {
      this.#wanted = this.push(ownMemoryIfShort(chunk));
      return;
    }
    this.#waiting.push(ownMemory(chunk));
    this.#pending += chunk.length + PENDING_ENTRY_COST_BYTES;
  }

  #forget(): void {
    this.#waiting.clear();
    this.#small.clear();
    this.#pending = 0;
  }
}
