/** Frames between daemon and shim, as bytes: the table stands in shim/PROTOCOL.md, the vectors in shim/vectors.json. Pure, no socket. */

export const PROTOCOL_VERSION = 1;
export const HEADER_BYTES = 8;
/** Most data in one OUTPUT or STDIN frame. */
export const MAX_DATA_BYTES = 65536;
/** As an offset in SUBSCRIBE: from the next byte on. */
export const NEXT_OFFSET = 0xffff_ffff_ffff_ffffn;

/** Daemon to shim. */
export const Request = {
  HELLO: 0x01,
  SUBSCRIBE: 0x02,
  UNSUBSCRIBE: 0x03,
  ACK: 0x04,
  STDIN: 0x05,
  CLOSE_STDIN: 0x06,
  RESIZE: 0x07,
  SIGNAL: 0x08,
  REOPEN_LOG: 0x09,
  FLUSH: 0x0a,
  LOCATE: 0x0b,
  STDIN_STATE: 0x0c,
  LEAVE: 0x0d,
  EXEC: 0x0e,
} as const;

/** Shim to daemon. */
export const Event = {
  WELCOME: 0x81,
  OUTPUT: 0x82,
  GAP: 0x83,
  STDIN_CREDIT: 0x84,
  STDIN_CLOSED: 0x85,
  LOG_LOSS: 0x86,
  EXIT: 0x87,
  REPLY: 0x88,
  FAILED: 0x89,
} as const;

/** The peer does not speak the protocol; the connection is of no more use. */
export class ShimProtocolError extends Error {
  override readonly name = 'ShimProtocolError';
}

function frame(type: number, payloadBytes: number): Buffer {
  const buffer = Buffer.alloc(HEADER_BYTES + payloadBytes);
  buffer.writeUInt32LE(payloadBytes, 0);
  buffer[4] = type;
  return buffer;
}

function sequenced(type: number, seq: number, extraBytes: number): Buffer {
  const buffer = frame(type, 4 + extraBytes);
  buffer.writeUInt32LE(seq, HEADER_BYTES);
  return buffer;
}

export const encodeHello = (secret: Uint8Array): Buffer => first(Request.HELLO, secret);

/** Asks for a program besides init; what it is follows, with its length in front. */
export function encodeExec(secret: Uint8Array, program: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(program.length);
  return Buffer.concat([first(Request.EXEC, secret), length, program]);
}

function first(type: number, secret: Uint8Array): Buffer {
  const buffer = frame(type, 36);
  buffer.writeUInt32LE(PROTOCOL_VERSION, 8);
  buffer.set(secret, 12);
  return buffer;
}

export function encodeSubscribe(from: bigint, windowBytes: number): Buffer {
  const buffer = frame(Request.SUBSCRIBE, 12);
  buffer.writeBigUInt64LE(from, 8);
  buffer.writeUInt32LE(windowBytes, 16);
  return buffer;
}

export const encodeUnsubscribe = (): Buffer => frame(Request.UNSUBSCRIBE, 0);

export function encodeAck(offset: number): Buffer {
  const buffer = frame(Request.ACK, 8);
  buffer.writeBigUInt64LE(BigInt(offset), 8);
  return buffer;
}

/** With a copy of the data: it may have to wait for the shim. */
export function encodeStdin(data: Uint8Array): Buffer {
  const buffer = frame(Request.STDIN, data.length);
  buffer.set(data, HEADER_BYTES);
  return buffer;
}

export const encodeCloseStdin = (): Buffer => frame(Request.CLOSE_STDIN, 0);

export function encodeResize(columns: number, rows: number): Buffer {
  const buffer = frame(Request.RESIZE, 4);
  buffer.writeUInt16LE(columns, 8);
  buffer.writeUInt16LE(rows, 10);
  return buffer;
}

export function encodeSignal(seq: number, signal: number, everything: boolean): Buffer {
  const buffer = sequenced(Request.SIGNAL, seq, 2);
  buffer[12] = signal;
  buffer[13] = everything ? 1 : 0;
  return buffer;
}

export const encodeReopenLog = (seq: number): Buffer => sequenced(Request.REOPEN_LOG, seq, 0);
export const encodeFlush = (seq: number): Buffer => sequenced(Request.FLUSH, seq, 0);
export const encodeStdinState = (seq: number): Buffer => sequenced(Request.STDIN_STATE, seq, 0);
export const encodeLeave = (seq: number): Buffer => sequenced(Request.LEAVE, seq, 0);

export function encodeLocate(seq: number, offset: bigint): Buffer {
  const buffer = sequenced(Request.LOCATE, seq, 8);
  buffer.writeBigUInt64LE(offset, 12);
  return buffer;
}

/** What the parser calls; `output` may come in several pieces per frame, each a view of what was received. */
export type FrameSink = {
  output(stream: 1 | 2, offset: number, data: Buffer): void;
  /** Every other frame, whole. `payload` must not be kept. */
  control(type: number, payload: Buffer): void;
};

/** Reads an unsigned 64-bit offset as a number: nothing writes 9 PB. */
export function readOffset(buffer: Buffer, at: number): number {
  const value = buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 0x1_0000_0000;
  if (!Number.isSafeInteger(value)) throw new ShimProtocolError('offset out of range');
  return value;
}

/** Largest payload of a frame that is not OUTPUT; WELCOME has 66 bytes, REPLY at most 60. */
const MAX_CONTROL_BYTES = 256;
const OUTPUT_OFFSET_BYTES = 8;

/**
 * Incremental parser of what the shim sends. States: `head` (collecting a header), `offset` (collecting OUTPUT's offset), `control`
 * (collecting a small payload), `data` (passing OUTPUT through without copying).
 */
export class FrameParser {
  readonly #sink: FrameSink;
  #state: 'head' | 'offset' | 'control' | 'data' = 'head';
  /** Header or control payload that came in pieces. */
  readonly #partial = Buffer.alloc(HEADER_BYTES + MAX_CONTROL_BYTES);
  #have = 0;
  #type = 0;
  #length = 0;
  #stream: 1 | 2 = 1;
  #offset = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Takes the next bytes. Throws ShimProtocolError; the parser must not be used after that. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === 'data') {
        const piece = chunk.subarray(at, at + this.#length);
        at += piece.length;
        const offset = this.#offset;
        this.#length -= piece.length;
        this.#offset += piece.length;
        if (this.#length === 0) this.#state = 'head';
        this.#sink.output(this.#stream, offset, piece);
        continue;
      }
      const take = Math.min(this.#need() - this.#have, chunk.length - at);
      chunk.copy(this.#partial, this.#have, at, at + take);
      this.#have += take;
      at += take;
      if (this.#have === this.#need()) this.#complete();
    }
  }

  /** How many collected bytes complete the current state. */
  #need(): number {
    if (this.#state === 'control') return HEADER_BYTES + this.#length;
    return this.#state === 'offset' ? HEADER_BYTES + OUTPUT_OFFSET_BYTES : HEADER_BYTES;
  }

  #complete(): void {
    if (this.#state === 'head') this.#header();
    else if (this.#state === 'offset') return this.#beginOutput();
    // Also right behind a header that announces no payload.
    if (this.#state !== 'control' || this.#have !== this.#need()) return;
    this.#state = 'head';
    this.#have = 0;
    this.#sink.control(this.#type, this.#partial.subarray(HEADER_BYTES, HEADER_BYTES + this.#length));
  }

  #header(): void {
    this.#length = this.#partial.readUInt32LE(0);
    this.#type = this.#partial[4] ?? 0;
    const flags = this.#partial[5] ?? 0;
    if (this.#partial.readUInt16LE(6) !== 0) throw new ShimProtocolError('reserved bytes are not zero');
    if (this.#type === Event.OUTPUT) {
      if (this.#length <= OUTPUT_OFFSET_BYTES || this.#length > MAX_DATA_BYTES + OUTPUT_OFFSET_BYTES)
        throw new ShimProtocolError('bad length of OUTPUT');
      if (flags !== 1 && flags !== 2) throw new ShimProtocolError('OUTPUT without a stream');
      this.#stream = flags;
      this.#state = 'offset';
      return;
    }
    if (flags !== 0) throw new ShimProtocolError('flags are not zero');
    if (this.#length > MAX_CONTROL_BYTES) throw new ShimProtocolError(`frame of type ${this.#type} is too long`);
    this.#state = 'control';
  }

  #beginOutput(): void {
    this.#offset = readOffset(this.#partial, HEADER_BYTES);
    this.#length -= OUTPUT_OFFSET_BYTES;
    this.#have = 0;
    this.#state = 'data';
  }
}
