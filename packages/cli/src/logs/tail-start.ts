// Finds where to begin reading so that the last lines of a long log are all seen, without reading it from the start.
import { open } from 'node:fs/promises';
import { parseRecord } from './cri-log.ts';

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
/** Lines of the other stream may end between the pieces of a line: that many are read more, and dropped by the caller. */
const MARGIN_LINES = 16;

/**
 * `from`: the beginning of a record with at least `lines` whole lines behind it; 0 when the file has fewer. `bytes`: from there to what was
 * the end of the file, which may grow.
 */
export async function tailStart(path: string, lines: number): Promise<{ readonly from: number; readonly bytes: number }> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    let begin = size;
    let ended = 0;
    // Bytes of a record whose beginning lies in a block that was not read yet.
    let rest = Buffer.alloc(0);
    while (begin > 0) {
      const length = Math.min(BLOCK_BYTES, begin);
      begin -= length;
      const block = Buffer.allocUnsafe(length);
      const { bytesRead } = await file.read(block, 0, length, begin);
      const bytes = Buffer.concat([block.subarray(0, bytesRead), rest]);
      let end = bytes.length;
      for (let at = previousNewline(bytes, end); at >= 0; at = previousNewline(bytes, end)) {
        if (at + 1 < end && endsLine(bytes.subarray(at + 1, end))) ended += 1;
        // The record that begins here ends the line before the ones that are wanted: all behind it is enough.
        if (ended > lines + MARGIN_LINES) return { from: begin + at + 1, bytes: size - begin - at - 1 };
        end = at;
      }
      rest = bytes.subarray(0, end);
    }
    return { from: 0, bytes: size };
  } finally {
    await file.close();
  }
}

const previousNewline = (bytes: Buffer, before: number): number => (before <= 0 ? -1 : bytes.lastIndexOf(NEWLINE, before - 1));

function endsLine(record: Buffer): boolean {
  try {
    return !parseRecord(record).partial;
  } catch {
    return false;
  }
}
