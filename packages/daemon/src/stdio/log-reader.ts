/** Turns a piece of a CRI log back into the bytes that the container wrote: for cursors that are older than the live buffer. */
import type { FileHandle } from 'node:fs/promises';

export type OutputPiece = { readonly stream: 1 | 2; readonly offset: number; readonly data: Buffer };

/** One read of the log; large enough for few calls, small enough for many lagging sessions at once. */
const READ_BYTES = 128 * 1024;
/** A record has at most 16 KiB of content and some 45 bytes in front; longer is not a log of ours. */
const MAX_RECORD_BYTES = 20 * 1024;

const NEWLINE = 0x0a;
const SPACE = 0x20;

/** The log on disk is not what the shim wrote. */
export class LogDamaged extends Error {
  override readonly name = 'LogDamaged';
}

/**
 * Reads the bytes `[from, until)` out of CRI records.
 * @param position where in the file a record begins
 * @param first the offset of that record's first byte, at most `from`
 * @throws LogDamaged when the file ends before `until` or a record has another form
 */
export async function* readLog(
  file: FileHandle,
  position: number,
  first: number,
  from: number,
  until: number,
): AsyncGenerator<OutputPiece> {
  const block = Buffer.allocUnsafeSlow(READ_BYTES + MAX_RECORD_BYTES);
  let have = 0;
  let at = position;
  let offset = first;
  while (offset < until) {
    const { bytesRead } = await file.read(block, have, block.length - have, at);
    if (bytesRead === 0) throw new LogDamaged(`the log ends at offset ${offset}, before ${until}`);
    at += bytesRead;
    have += bytesRead;
    const gathered = new Gatherer(have);
    let start = 0;
    while (offset < until) {
      const end = block.indexOf(NEWLINE, start);
      if (end === -1 || end >= have) break;
      const record = parseRecord(block, start, end);
      start = end + 1;
      let bytes = block.subarray(record.contentStart, end);
      const length = bytes.length + (record.whole ? 1 : 0);
      // A whole line gives its newline back: it stands right behind the content.
      if (record.whole) bytes = block.subarray(record.contentStart, end + 1);
      const skip = Math.max(0, from - offset);
      if (skip < length) {
        const cut = Math.min(length, until - offset);
        const piece = gathered.add(record.stream, offset + skip, bytes.subarray(skip, cut));
        if (piece !== undefined) yield piece;
      }
      offset += length;
    }
    const last = gathered.take();
    if (last !== undefined) yield last;
    if (start === 0 && have - start > MAX_RECORD_BYTES) throw new LogDamaged(`a record at offset ${offset} has no end`);
    block.copyWithin(0, start, have);
    have -= start;
  }
}

/** Puts the contents of neighbouring records of one stream together. */
class Gatherer {
  readonly #buffer: Buffer;
  #start = 0;
  #used = 0;
  #stream: 1 | 2 = 1;
  #offset = 0;

  constructor(bytes: number) {
    this.#buffer = Buffer.allocUnsafeSlow(bytes);
  }

  add(stream: 1 | 2, offset: number, bytes: Buffer): OutputPiece | undefined {
    const done = stream === this.#stream ? undefined : this.take();
    if (this.#used === this.#start) {
      this.#stream = stream;
      this.#offset = offset;
    }
    bytes.copy(this.#buffer, this.#used);
    this.#used += bytes.length;
    return done;
  }

  take(): OutputPiece | undefined {
    if (this.#used === this.#start) return undefined;
    const data = this.#buffer.subarray(this.#start, this.#used);
    this.#start = this.#used;
    return { stream: this.#stream, offset: this.#offset, data };
  }
}

/** `<time> stdout|stderr P|F <content>`; the content begins after the third space and runs to the newline. */
function parseRecord(block: Buffer, start: number, end: number): { stream: 1 | 2; whole: boolean; contentStart: number } {
  const timeEnd = block.indexOf(SPACE, start);
  const tag = timeEnd + 8;
  if (timeEnd === -1 || tag + 2 > end || block[tag - 1] !== SPACE || block[tag + 1] !== SPACE)
    throw new LogDamaged('a record has another form');
  // `stdout` and `stderr` differ in their fourth letter.
  const letter = block[timeEnd + 4];
  const kind = block[tag];
  if ((letter !== 0x6f && letter !== 0x65) || (kind !== 0x46 && kind !== 0x50)) throw new LogDamaged('a record has another form');
  return { stream: letter === 0x6f ? 1 : 2, whole: kind === 0x46, contentStart: tag + 2 };
}
