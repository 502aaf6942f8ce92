// One stream of a SPDY connection: two halves that end on their own, or both at once by a reset.

import type { Buffer } from 'node:buffer';
import { MAX_SENT_PAYLOAD_BYTES } from '../limits.ts';
import { RST_STATUS } from './constants.ts';
import { dataHead } from './frames.ts';
import type { Headers } from './header-decoder.ts';

/** What happens on a stream. */
export type StreamEvents = {
  /** Never empty; shares its memory with what else was read at once. */
  data(piece: Buffer): void;
  /** The client's half has ended; no data comes after. */
  end(): void;
  /** The client has reset the stream; nothing comes after, and nothing is sent any more. */
  reset(): void;
};

/** What a stream needs of its connection. */
export type StreamWire = {
  reply(id: number): void;
  send(parts: readonly Uint8Array[]): void;
  reset(id: number, status: number): void;
  /** Both halves have ended. */
  forget(id: number): void;
};

const EMPTY = new Uint8Array(0);
const NO_HEADERS: Headers = new Map();
const IGNORE: StreamEvents = { data: () => undefined, end: () => undefined, reset: () => undefined };

/**
 *   opened --accept()--> open --end() and the client's FIN, in any order--> gone
 *     |                    +--reset(), the client's RST, the connection's end--> gone
 *     +--reset()--> gone
 */
export class SpdyStream {
  readonly id: number;
  readonly #wire: StreamWire;
  #headers: Headers;
  #events: StreamEvents = IGNORE;
  #ourEnd: boolean;
  #clientEnd: boolean;
  #gone = false;

  constructor(id: number, headers: Headers, wire: StreamWire, flags: { readonly fin: boolean; readonly unidirectional: boolean }) {
    this.id = id;
    this.#headers = headers;
    this.#wire = wire;
    this.#clientEnd = flags.fin;
    this.#ourEnd = flags.unidirectional;
  }

  /** What the client opened it with; nothing once it has been accepted, as thousands of streams may live long. */
  get headers(): Headers {
    return this.#headers;
  }

  /** Whether what is written still goes to the client. */
  get writable(): boolean {
    return !this.#ourEnd && !this.#gone;
  }

  /** Whether the client will send nothing more. */
  get clientEnded(): boolean {
    return this.#clientEnd || this.#gone;
  }

  /** Takes the stream: answers at once, since clients discard data that comes before the answer. To be called before anything is awaited. */
  accept(events: StreamEvents): void {
    this.#events = events;
    this.#headers = NO_HEADERS;
    this.#wire.reply(this.id);
    if (this.#clientEnd) events.end();
    this.#settle();
  }

  /** Sends a chunk as it is, in frames of a length that clients can take. Ignored once our half has ended. */
  write(chunk: Uint8Array): void {
    if (!this.writable) return;
    for (let at = 0; at < chunk.length; at += MAX_SENT_PAYLOAD_BYTES) {
      const part = chunk.length <= MAX_SENT_PAYLOAD_BYTES ? chunk : chunk.subarray(at, at + MAX_SENT_PAYLOAD_BYTES);
      this.#wire.send([dataHead(this.id, part.length), part]);
    }
  }

  /** Ends our half, behind a last chunk of at most 64 KiB if there is one. Idempotent. */
  end(last: Uint8Array = EMPTY): void {
    if (!this.writable) return;
    this.#ourEnd = true;
    const head = dataHead(this.id, last.length, true);
    this.#wire.send(last.length > 0 ? [head, last] : [head]);
    this.#settle();
  }

  /** Ends both halves at once, where that has not happened. Nothing is told any more. */
  reset(status: number = RST_STATUS.cancel): void {
    if (this.#gone) return;
    this.#goAway();
    this.#wire.reset(this.id, status);
  }

  /** From the connection: the client's data. */
  received(piece: Buffer): void {
    if (!this.#clientEnd) this.#events.data(piece);
  }

  /** From the connection: the client's FIN. */
  receivedEnd(): void {
    if (this.#clientEnd) return;
    this.#clientEnd = true;
    this.#events.end();
    this.#settle();
  }

  /** From the connection: the client's RST. */
  receivedReset(): void {
    if (this.#gone) return;
    const events = this.#events;
    this.#goAway();
    events.reset();
  }

  #settle(): void {
    if (this.#ourEnd && this.#clientEnd && !this.#gone) this.#goAway();
  }

  #goAway(): void {
    this.#gone = true;
    this.#events = IGNORE;
    this.#wire.forget(this.id);
  }
}
