/** Turns a piece of a CRI log back into the bytes that the container wrote: for cursors that are older than the live buffer. */
import type { FileHandle } from 'node:fs/promises';
import { FreeSlabs, type Holds, RoundSlabs } from './slabs.ts';

export type OutputPiece = { readonly stream: 1 | 2; readonly offset: number; readonly data: Buffer };

/** One read of the log; large enough for few calls, small enough for many lagging sessions at once. */
const READ_BYTES = 128 * 1024;
/** A record has at most 16 KiB of content and 41 bytes around it; longer is not a log of ours. */
const MAX_RECORD_BYTES = 20 * 1024;
const BLOCK_BYTES = READ_BYTES + MAX_RECORD_BYTES;
/** Blocks whose output a session's client has not taken: more than what a transport lets wait (OUTBOUND_HIGH_WATER). */
const MAX_WAITING = 4;
/** Blocks that no session uses: 600 KiB for the whole daemon. */
const MAX_FREE = 4;
/** `2026-11-24T17:14:00.123456789Z stdout F `: the shim writes times of one length. */
const HEAD_BYTES = 40;
const TIME_BYTES = 30;
const LETTER_AT = 34;
const KIND_AT = 38;
/** Lines are short: up to here, looking at each byte is quicker than a call that looks at many. */
const NEAR_BYTES = 192;

const NEWLINE = 0x0a;
const SPACE = 0x20;
/** `stdout` and `stderr` differ in their fourth letter. */
const LETTER_O = 0x6f;
const LETTER_E = 0x65;
const KIND_FULL = 0x46;
const KIND_PARTIAL = 0x50;

/** The log on disk is not what the shim wrote. */
export class LogDamaged extends Error {
  override readonly name = 'LogDamaged';
}

const free = new FreeSlabs(BLOCK_BYTES, MAX_FREE);

/** Memory for what one session reads from the log. */
export const logMemory = (holds: Holds): RoundSlabs => new RoundSlabs(free, holds, MAX_WAITING);

/**
 * Reads the bytes `[from, until)` out of CRI records.
 * @param position where in the file a record begins
 * @param first the offset of that record's first byte, at most `from`
 * @param memory where the pieces lie: each stays as it is for as long as somebody holds it
 * @throws LogDamaged when the file ends before `until` or a record has another form
 */
export async function* readLog(
  file: FileHandle,
  position: number,
  first: number,
  from: number,
  until: number,
  memory: RoundSlabs,
): AsyncGenerator<OutputPiece> {
  let block = memory.take();
  let have = 0;
  let at = position;
  let offset = first;
  let end = first;
  try {
    while (offset < until) {
      const { bytesRead } = await file.read(block, have, block.length - have, at);
      if (bytesRead === 0) throw new LogDamaged(`the log ends at offset ${offset}, before ${until}`);
      at += bytesRead;
      have += bytesRead;
      const unpacked = unpack(block.subarray(0, have), offset, from, until);
      for (const piece of unpacked.pieces) {
        // Whoever stops here has got this one.
        end = piece.offset + piece.data.length;
        yield piece;
      }
      offset = unpacked.offset;
      if (offset >= until) return;
      const { used } = unpacked;
      if (used === 0 && have > MAX_RECORD_BYTES) throw new LogDamaged(`a record at offset ${offset} has no end`);
      // The pieces keep the block; what is left of it is the beginning of the next one.
      const next = memory.take();
      block.copy(next, 0, used, have);
      memory.full(block, first, end);
      have -= used;
      block = next;
    }
  } finally {
    memory.full(block, first, end);
  }
}

/** The pieces, the offset behind them, and how much of the block they were made of. */
type Unpacked = { readonly pieces: readonly OutputPiece[]; readonly offset: number; readonly used: number };

/**
 * Moves the contents of whole records together, in place: they only ever move towards the beginning, and no further than what has been
 * read. Neighbouring records of one stream become one piece.
 */
function unpack(block: Buffer, first: number, from: number, until: number): Unpacked {
  const pieces: OutputPiece[] = [];
  let [offset, used] = [first, 0];
  let stream: 1 | 2 = 1;
  let [begun, written, begunOffset] = [0, 0, first];
  const take = (): void => {
    if (written > begun) pieces.push({ stream, offset: begunOffset, data: block.subarray(begun, written) });
    begun = written;
  };
  while (offset < until) {
    const content = used + HEAD_BYTES;
    const end = lineEnd(block, content);
    if (end === -1) break;
    const recordStream = streamOf(block, used);
    // A whole line gives its newline back: it stands right behind the content.
    const length = end - content + (block[used + KIND_AT] === KIND_FULL ? 1 : 0);
    const start = content + Math.min(length, Math.max(0, from - offset));
    const stop = content + Math.min(length, until - offset);
    if (stop > start) {
      if (recordStream !== stream) take();
      stream = recordStream;
      if (written === begun) begunOffset = offset + start - content;
      move(block, written, start, stop);
      written += stop - start;
    }
    offset += length;
    used = end + 1;
  }
  take();
  return { pieces, offset, used };
}

/** Where the newline at or behind `from` stands; -1 when it has not been read yet. */
function lineEnd(block: Buffer, from: number): number {
  const near = Math.min(block.length, from + NEAR_BYTES);
  for (let at = from; at < near; at += 1) if (block[at] === NEWLINE) return at;
  return near < block.length ? block.indexOf(NEWLINE, near) : -1;
}

function move(block: Buffer, to: number, start: number, stop: number): void {
  if (stop - start > NEAR_BYTES) {
    block.copyWithin(to, start, stop);
    return;
  }
  for (let at = start, write = to; at < stop; at += 1, write += 1) block[write] = block[at] as number;
}

/** Whether what stands at this position of a file looks like a record. */
export async function isRecordAt(file: FileHandle, position: number): Promise<boolean> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, position);
  return bytesRead === HEAD_BYTES && hasHead(buffer, 0);
}

/** @throws LogDamaged */
function streamOf(block: Buffer, at: number): 1 | 2 {
  if (!hasHead(block, at)) throw new LogDamaged('a record has another form');
  return block[at + LETTER_AT] === LETTER_O ? 1 : 2;
}

/** `<time> stdout|stderr P|F <content>` */
function hasHead(block: Buffer, at: number): boolean {
  const letter = block[at + LETTER_AT];
  const kind = block[at + KIND_AT];
  const spaced = block[at + TIME_BYTES] === SPACE && block[at + KIND_AT - 1] === SPACE && block[at + KIND_AT + 1] === SPACE;
  return spaced && (letter === LETTER_O || letter === LETTER_E) && (kind === KIND_FULL || kind === KIND_PARTIAL);
}
