// One forwarded port of a WebSocket: a stream whose input comes from the frame parser and whose output goes to the sender.

import { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';
import { PENDING_ENTRY_COST_BYTES } from '../limits.ts';

/** What a channel needs of its connection. */
export type ChannelWire = {
  /** Sends output; calls back when more may come. */
  send(channel: PortChannel, chunk: Buffer, taken: () => void): void;
  /** Something of the channel has changed: its input was taken, a half has ended, it is gone. */
  changed(channel: PortChannel): void;
};

/** Pieces below this are gathered until the end of a socket read. */
const SMALL_PIECE_BYTES = 1024;
/** Input is pushed when it is asked for and waits in our own queue otherwise, where what a small piece costs is counted. */
const READABLE_HIGH_WATER = 1;
/** One message. */
const WRITABLE_HIGH_WATER = 64 * 1024;

export class PortChannel extends Duplex {
  readonly port: number;
  /** Place of the port in the call: it has the channels `2 * index` and `2 * index + 1`. */
  readonly index: number;
  readonly #wire: ChannelWire;
  #waiting: Buffer[] = [];
  /** Place of the next piece in `#waiting`, so that taking one moves nothing. */
  #next = 0;
  #gathered: Buffer[] = [];
  #pending = 0;
  #wanted = false;
  #inputEnded = false;
  #outputEnded = false;

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

  /** The next bytes of the client; the buffer may be kept. */
  takeInput(piece: Buffer): void {
    if (this.destroyed || this.#inputEnded) return;
    if (piece.length < SMALL_PIECE_BYTES) return void this.#gathered.push(piece);
    this.flush();
    this.#enqueue(piece);
  }

  /** Hands on what has been gathered: called at the end of every read. */
  flush(): void {
    if (this.#gathered.length === 0) return;
    const gathered = this.#gathered;
    this.#gathered = [];
    this.#enqueue(gathered.length === 1 ? (gathered[0] as Buffer) : Buffer.concat(gathered));
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
    while (this.#wanted && this.#next < this.#waiting.length) {
      const chunk = this.#waiting[this.#next] as Buffer;
      this.#next += 1;
      this.#pending -= chunk.length + PENDING_ENTRY_COST_BYTES;
      this.#wanted = this.push(chunk);
    }
    if (this.#pending === 0) {
      this.#forget();
      if (this.#inputEnded) this.push(null);
    }
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
      this.#wanted = this.push(chunk);
      return;
    }
    this.#waiting.push(chunk);
    this.#pending += chunk.length + PENDING_ENTRY_COST_BYTES;
  }

  #forget(): void {
    this.#waiting = [];
    this.#next = 0;
    this.#pending = 0;
    this.#gathered = [];
  }
}
