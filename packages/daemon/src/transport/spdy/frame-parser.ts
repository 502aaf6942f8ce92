// Reads the frames of a client (SPDY Protocol, Draft 3.1, section 2.2) out of chunks; data is handed on piece by piece, uncopied.

import { Buffer } from 'node:buffer';
import { FLAG, FRAME_HEAD_BYTES, FRAME_TYPE, MAX_CONTROL_FRAME_BYTES, STREAM_ID_BITS, VERSION } from './constants.ts';

/** What the parser finds, in the order of the wire. */
export type FrameEvents = {
  /** A stream is opened; `block`: its headers, compressed. */
  synStream(frame: { readonly id: number; readonly fin: boolean; readonly unidirectional: boolean; readonly block: Buffer }): void;
  /** SYN_REPLY or HEADERS: both only matter for the compression. */
  headers(frame: { readonly id: number; readonly fin: boolean; readonly block: Buffer }): void;
  rstStream(id: number, status: number): void;
  ping(id: number): void;
  goAway(lastStreamId: number, status: number): void;
  /** The next bytes of a stream; never empty. Shares the memory of the chunk that was pushed. */
  data(id: number, piece: Buffer): void;
  /** A data frame said that the stream's half ends, behind its data. */
  fin(id: number): void;
  /** The client broke the protocol; nothing is read after it. */
  failed(reason: string): void;
};

const CONTROL_BIT = 0x8000_0000;
const VERSION_BITS = 0x7fff;
const LENGTH_BITS = 0x00ff_ffff;

/** Bytes in front of the header block, or all of the frame. */
const FIXED_BYTES: Readonly<Record<number, { readonly bytes: number; readonly more: boolean }>> = {
  [FRAME_TYPE.synStream]: { bytes: 10, more: true },
  [FRAME_TYPE.synReply]: { bytes: 4, more: true },
  [FRAME_TYPE.rstStream]: { bytes: 8, more: false },
  [FRAME_TYPE.ping]: { bytes: 4, more: false },
  [FRAME_TYPE.goAway]: { bytes: 8, more: false },
  [FRAME_TYPE.headers]: { bytes: 4, more: true },
};

/**
 *   head (8 bytes) --> data    --> head
 *        |         \-> control --> head
 *        |         \-> skip    --> head    (control frames of types that are ignored)
 *        +-- malformed --> done
 */
type State = 'head' | 'data' | 'control' | 'skip' | 'done';

/** One per connection. */
export class FrameParser {
  readonly #events: FrameEvents;
  #state: State = 'head';
  readonly #head = Buffer.alloc(FRAME_HEAD_BYTES);
  #have = 0;
  /** Of the frame at hand: stream id or type, flags, bytes of its payload that have not come. */
  #id = 0;
  #type = 0;
  #flags = 0;
  #left = 0;
  #control: Buffer[] = [];
  #held = false;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** Takes the next bytes of the connection; gives those that are left after `hold`. What comes after a fault is ignored. */
  push(chunk: Buffer): Buffer {
    let at = 0;
    this.#held = false;
    while (at < chunk.length && this.#state !== 'done' && !this.#held) {
      at = this.#state === 'head' ? this.#takeHead(chunk, at) : this.#takePayload(chunk, at);
    }
    return chunk.subarray(this.#state === 'done' ? chunk.length : at);
  }

  /** `push` returns after the frame that is being told of. */
  hold(): void {
    this.#held = true;
  }

  /** Takes nothing any more. */
  stop(): void {
    this.#state = 'done';
    this.#control = [];
  }

  #takeHead(chunk: Buffer, from: number): number {
    if (this.#have === 0 && chunk.length - from >= FRAME_HEAD_BYTES) {
      this.#readHead(chunk, from);
      return from + FRAME_HEAD_BYTES;
    }
    const to = Math.min(chunk.length, from + FRAME_HEAD_BYTES - this.#have);
    chunk.copy(this.#head, this.#have, from, to);
    this.#have += to - from;
    if (this.#have === FRAME_HEAD_BYTES) {
      this.#have = 0;
      this.#readHead(this.#head, 0);
    }
    return to;
  }

  #readHead(bytes: Buffer, at: number): void {
    const first = bytes.readUInt32BE(at);
    const second = bytes.readUInt32BE(at + 4);
    this.#flags = second >>> 24;
    this.#left = second & LENGTH_BITS;
    if (first >= CONTROL_BIT) this.#beginControl((first >>> 16) & VERSION_BITS, first & 0xffff);
    else if (first === 0) return this.#fail('data without a stream');
    else {
      this.#id = first;
      this.#state = 'data';
    }
    if (this.#left === 0 && this.#state !== 'done') this.#endFrame();
  }

  #beginControl(version: number, type: number): void {
    if (version !== VERSION) return this.#fail(`frame of version ${version}`);
    this.#type = type;
    const fixed = FIXED_BYTES[type];
    this.#state = fixed === undefined ? 'skip' : 'control';
    if (fixed === undefined) return;
    if (this.#left < fixed.bytes || (this.#left > fixed.bytes && !fixed.more))
      return this.#fail('a control frame of a wrong length');
    if (this.#left > MAX_CONTROL_FRAME_BYTES) this.#fail('a control frame is too long');
  }

  #takePayload(chunk: Buffer, from: number): number {
    const to = Math.min(chunk.length, from + this.#left);
    this.#left -= to - from;
    if (this.#state === 'data') this.#events.data(this.#id, chunk.subarray(from, to));
    else if (this.#state === 'control')
      this.#control.push(this.#left > 0 ? Buffer.from(chunk.subarray(from, to)) : chunk.subarray(from, to));
    // `data` may have stopped the parser.
    if (this.#left === 0 && this.#state !== 'done') this.#endFrame();
    return to;
  }

  #endFrame(): void {
    const ended = this.#state;
    this.#state = 'head';
    if (ended === 'control') this.#endControl();
    else if (ended === 'data' && (this.#flags & FLAG.fin) !== 0) this.#events.fin(this.#id);
  }

  #endControl(): void {
    const payload = this.#control.length === 1 ? (this.#control[0] as Buffer) : Buffer.concat(this.#control);
    this.#control = [];
    const word = payload.readUInt32BE();
    const fin = (this.#flags & FLAG.fin) !== 0;
    const id = word & STREAM_ID_BITS;
    if (this.#type === FRAME_TYPE.ping) this.#events.ping(word);
    else if (this.#type === FRAME_TYPE.goAway) this.#events.goAway(id, payload.readUInt32BE(4));
    else if (this.#type === FRAME_TYPE.rstStream) this.#events.rstStream(id, payload.readUInt32BE(4));
    else if (this.#type === FRAME_TYPE.synStream) {
      const unidirectional = (this.#flags & FLAG.unidirectional) !== 0;
      this.#events.synStream({ id, fin, unidirectional, block: payload.subarray(10) });
    } else this.#events.headers({ id, fin, block: payload.subarray(4) });
  }

  #fail(reason: string): void {
    this.stop();
    this.#events.failed(reason);
  }
}
