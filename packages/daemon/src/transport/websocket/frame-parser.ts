// Reads the frames of a client (RFC 6455, section 5) out of socket chunks and hands payloads on piece by piece, uncopied.

import { Buffer, isUtf8 } from 'node:buffer';
import { CLOSE_CODE, MAX_CONTROL_PAYLOAD_BYTES, MAX_MESSAGE_BYTES, OPCODE } from './constants.ts';
import { unmask } from './mask.ts';

/** What the parser finds, in the order of the wire. Pieces share the memory of the chunk that was pushed. */
export type FrameEvents = {
  /** A data message begins; whether it came as text says nothing. */
  messageStart(): void;
  /** The next bytes of the message's payload, across its fragments; never empty. */
  messagePiece(piece: Buffer): void;
  messageEnd(): void;
  ping(payload: Buffer): void;
  pong(payload: Buffer): void;
  /** The client's close frame; nothing is read after it. `code` is absent when the frame had none. */
  close(code: number | undefined): void;
  /** The client broke the protocol; nothing is read after it. `code` is what a close frame should say. */
  failed(code: number, reason: string): void;
};

const FIN_BIT = 0x80;
const RESERVED_BITS = 0x70;
const OPCODE_BITS = 0x0f;
const CONTROL_BIT = 0x08;
const MASK_BIT = 0x80;
const LENGTH_BITS = 0x7f;
const MASK_BYTES = 4;
/** Two fixed bytes, eight of length, four of mask. */
const MAX_HEADER_BYTES = 14;

/**
 *   head (2 bytes) --> length (0, 2 or 8, and 4 of mask) --> payload --> head
 *        |                    |                         \-> control --> head | done (after a close frame)
 *        +--------------------+---- malformed ----------------------> done
 */
type State = 'head' | 'length' | 'payload' | 'control' | 'done';

/** One per connection. Its masks are taken off in place: the chunks pushed belong to the parser until `push` returns. */
export class FrameParser {
  readonly #events: FrameEvents;
  readonly #maxMessageBytes: number;
  #state: State = 'head';
  /** Header bytes collected so far, and how many make the state complete. */
  readonly #header = Buffer.alloc(MAX_HEADER_BYTES);
  #have = 0;
  #need = 2;
  readonly #key: Buffer = this.#header.subarray(MAX_HEADER_BYTES - MASK_BYTES);
  #opcode = 0;
  #final = false;
  /** Payload bytes of this frame in all, and those seen. */
  #length = 0;
  #seen = 0;
  /** Between the first fragment of a message and its last. */
  #inMessage = false;
  #messageBytes = 0;
  #control: Buffer[] = [];

  constructor(events: FrameEvents, maxMessageBytes: number = MAX_MESSAGE_BYTES.binary) {
    this.#events = events;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Takes the next bytes of the connection. What comes after a close frame or a fault is ignored. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#state !== 'done') {
      at = this.#state === 'payload' || this.#state === 'control' ? this.#takePayload(chunk, at) : this.#takeHeader(chunk, at);
    }
  }

  #takeHeader(chunk: Buffer, from: number): number {
    let at = from;
    while (this.#have < this.#need && at < chunk.length) {
      this.#header[this.#have] = chunk[at] as number;
      this.#have += 1;
      at += 1;
    }
    if (this.#have < this.#need) return at;
    if (this.#state === 'head') this.#readHead();
    else this.#readLength();
    return at;
  }

  #readHead(): void {
    const first = this.#header[0] as number;
    const second = this.#header[1] as number;
    const opcode = first & OPCODE_BITS;
    const shortLength = second & LENGTH_BITS;
    this.#final = (first & FIN_BIT) !== 0;
    this.#opcode = opcode;
    if ((first & RESERVED_BITS) !== 0) return this.#fail(CLOSE_CODE.protocolError, 'reserved bits are set');
    if ((second & MASK_BIT) === 0) return this.#fail(CLOSE_CODE.protocolError, 'the frame is not masked');
    if ((opcode & CONTROL_BIT) !== 0) {
      if (opcode > OPCODE.pong) return this.#fail(CLOSE_CODE.protocolError, 'unknown opcode');
      if (!this.#final) return this.#fail(CLOSE_CODE.protocolError, 'a control frame is fragmented');
      if (shortLength > MAX_CONTROL_PAYLOAD_BYTES) return this.#fail(CLOSE_CODE.protocolError, 'a control frame is too long');
    } else {
      if (opcode > OPCODE.binary) return this.#fail(CLOSE_CODE.protocolError, 'unknown opcode');
      if ((opcode === OPCODE.continuation) !== this.#inMessage) {
        return this.#fail(CLOSE_CODE.protocolError, this.#inMessage ? 'a message inside a message' : 'a continuation of nothing');
      }
    }
    this.#state = 'length';
    this.#need = 2 + (shortLength === 126 ? 2 : shortLength === 127 ? 8 : 0) + MASK_BYTES;
  }

  #readLength(): void {
    const header = this.#header;
    const maskAt = this.#need - MASK_BYTES;
    const length =
      maskAt === 2
        ? (header[1] as number) & LENGTH_BITS
        : maskAt === 4
          ? header.readUInt16BE(2)
          : header.readUInt32BE(2) * 0x1_0000_0000 + header.readUInt32BE(6);
    header.copy(this.#key, 0, maskAt, this.#need);
    this.#have = 0;
    this.#need = 2;
    this.#length = length;
    this.#seen = 0;
    if ((this.#opcode & CONTROL_BIT) !== 0) this.#state = 'control';
    else {
      const begins = !this.#inMessage;
      this.#messageBytes = begins ? length : this.#messageBytes + length;
      if (this.#messageBytes > this.#maxMessageBytes) return this.#fail(CLOSE_CODE.tooBig, 'the message is too big');
      this.#state = 'payload';
      this.#inMessage = true;
      if (begins) this.#events.messageStart();
    }
    if (length === 0) this.#endFrame();
  }

  #takePayload(chunk: Buffer, from: number): number {
    const to = Math.min(chunk.length, from + this.#length - this.#seen);
    unmask(chunk, from, to, this.#key, this.#seen);
    this.#seen += to - from;
    const piece = chunk.subarray(from, to);
    if (this.#state === 'control') this.#control.push(Buffer.from(piece));
    else this.#events.messagePiece(piece);
    if (this.#seen === this.#length) this.#endFrame();
    return to;
  }

  #endFrame(): void {
    const wasControl = this.#state === 'control';
    this.#state = 'head';
    if (wasControl) this.#endControl();
    else if (this.#final) {
      this.#inMessage = false;
      this.#events.messageEnd();
    }
  }

  #endControl(): void {
    const payload = this.#control.length === 1 ? (this.#control[0] as Buffer) : Buffer.concat(this.#control);
    this.#control = [];
    if (this.#opcode === OPCODE.ping) return this.#events.ping(payload);
    if (this.#opcode === OPCODE.pong) return this.#events.pong(payload);
    const code = payload.length >= 2 ? payload.readUInt16BE(0) : undefined;
    if (payload.length === 1 || (code !== undefined && !mayBeSent(code))) {
      return this.#fail(CLOSE_CODE.protocolError, 'the close frame has no valid code');
    }
    if (!isUtf8(payload.subarray(2))) return this.#fail(CLOSE_CODE.invalidPayload, 'the close reason is not UTF-8');
    this.#state = 'done';
    this.#events.close(code);
  }

  #fail(code: number, reason: string): void {
    this.#state = 'done';
    this.#control = [];
    this.#events.failed(code, reason);
  }
}

/** Section 7.4: codes that may stand in a close frame. 1004 to 1006 and 1015 only ever stand in programs. */
function mayBeSent(code: number): boolean {
  return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);
}
