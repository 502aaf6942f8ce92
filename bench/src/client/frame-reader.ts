/** Takes server-to-client WebSocket frames apart, without copying a byte of what they carry. */

const OPCODE_CONTINUATION = 0;
const OPCODE_CLOSE = 8;
const OPCODE_PING = 9;
const FIN = 0x80;
const MASKED = 0x80;
/** RFC 6455: a control frame carries at most this much. */
const MAX_CONTROL_BYTES = 125;
/** The longest frame header that an unmasked frame can have. */
const MAX_HEADER_BYTES = 10;

export type FrameEvents = {
  /** A piece of a message on a channel; valid only during the call. An empty one is the server's first message. */
  data(channel: number, piece: Buffer): void;
  ping(payload: Buffer): void;
  /** 1005: no code was given. */
  close(code: number): void;
};

/** One direction of one connection. Feed it what arrives, in order, in any pieces. */
export class FrameReader {
  readonly #events: FrameEvents;
  readonly #header = Buffer.alloc(MAX_HEADER_BYTES);
  #headerHave = 0;
  /** Bytes of the current frame's payload still to come; -1 while its header is being read. */
  #left = -1;
  #opcode = 0;
  #final = true;
  /** Channel of the current message; -1 until its first byte has come. */
  #channel = -1;
  #control = Buffer.alloc(0);

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** @throws Error when the bytes are no frames that a server may send */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length || this.#left === 0) {
      if (this.#left < 0) {
        at += this.#readHeader(chunk, at);
      } else if (this.#opcode >= OPCODE_CLOSE) {
        at += this.#readControl(chunk, at);
      } else {
        at += this.#readData(chunk, at);
      }
    }
  }

  #readHeader(chunk: Buffer, at: number): number {
    this.#header[this.#headerHave++] = chunk[at] ?? 0;
    if (this.#headerHave < 2) return 1;
    const [first = 0, second = 0] = this.#header;
    if ((second & MASKED) !== 0) throw new Error('a masked frame from the server');
    const size = second === 126 ? 4 : second === 127 ? 10 : 2;
    if (this.#headerHave < size) return 1;
    this.#headerHave = 0;
    this.#opcode = first & 0x0f;
    this.#final = (first & FIN) !== 0;
    this.#left = size === 4 ? this.#header.readUInt16BE(2) : size === 10 ? Number(this.#header.readBigUInt64BE(2)) : second;
    if (this.#opcode >= OPCODE_CLOSE) {
      if (this.#left > MAX_CONTROL_BYTES) throw new Error('a control frame that long');
      this.#control = Buffer.alloc(0);
    } else if (this.#opcode !== OPCODE_CONTINUATION) {
      this.#channel = -1;
    }
    return 1;
  }

  #readControl(chunk: Buffer, at: number): number {
    const piece = chunk.subarray(at, at + this.#left);
    this.#control = Buffer.concat([this.#control, piece]);
    this.#left -= piece.length;
    if (this.#left > 0) return piece.length;
    this.#left = -1;
    if (this.#opcode === OPCODE_PING) this.#events.ping(this.#control);
    if (this.#opcode === OPCODE_CLOSE) this.#events.close(this.#control.length < 2 ? 1005 : this.#control.readUInt16BE(0));
    return piece.length;
  }

  #readData(chunk: Buffer, at: number): number {
    if (this.#left === 0) {
      this.#left = -1;
      if (this.#channel < 0 && this.#final) throw new Error('a message without a channel');
      return 0;
    }
    const start = at;
    let begin = at;
    const fresh = this.#channel < 0;
    if (fresh) {
      this.#channel = chunk[begin++] ?? 0;
      this.#left--;
    }
    const piece = chunk.subarray(begin, begin + this.#left);
    this.#left -= piece.length;
    if (piece.length > 0 || (fresh && this.#left === 0)) this.#events.data(this.#channel, piece);
    if (this.#left === 0) this.#left = -1;
    return begin + piece.length - start;
  }
}
