// Reads a container's log file to its end, and on, over rotations.
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { LogRotations, POLL_MS } from './log-rotations.ts';

const READ_BYTES = 256 * 1024;

/** What a reader gives: bytes; `idle` once whenever it has caught up; `rotated` where another file begins; `gap` where one is missing. */
export type LogChunk =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'idle' }
  | { readonly kind: 'gap' }
  | { readonly kind: 'rotated' };

export type FollowOptions = {
  /** First byte to read of the file that is there now. */
  readonly from?: number;
  /** Absent: read to what is the end now, and stop. Present: asked whenever the end is reached; true ends the reading after one more look. */
  readonly finished?: () => Promise<boolean>;
  readonly signal?: AbortSignal;
};

/**
 * Reads a log. A file that was rotated away is read to its end before the next one is begun; one that was truncated in place is
 * begun again.
 */
export async function* readLog(path: string, options: FollowOptions = {}): AsyncGenerator<LogChunk, void, undefined> {
  const { finished, signal } = options;
  let file = await open(path, 'r');
  let position = options.from ?? 0;
  let last = false;
  let idle = false;
  try {
    // A container may write more quickly than it is read here: the end that moves would never be reached.
    const end = finished === undefined ? (await file.stat()).size : Number.POSITIVE_INFINITY;
    await using rotations = finished === undefined ? undefined : await LogRotations.from(path, file);
    while (signal?.aborted !== true) {
      const bytes = await readAt(file, position, end - position);
      if (bytes.length > 0) {
        position += bytes.length;
        idle = false;
        yield { kind: 'bytes', bytes };
        continue;
      }
      if (finished === undefined || rotations === undefined) return;
      if ((await file.stat()).size < position) {
        position = 0;
        yield { kind: 'rotated' };
        continue;
      }
      const successor = await rotations.next();
      if (successor !== undefined) {
        // The runtime writes to the new file from its reopening on: the old one is final, but may have grown since the last read.
        for (let rest = await readAt(file, position); rest.length > 0; rest = await readAt(file, position)) {
          position += rest.length;
          yield { kind: 'bytes', bytes: rest };
        }
        await file.close();
        file = successor;
        position = 0;
        yield { kind: 'rotated' };
        continue;
      }
      if (rotations.takeGap()) yield { kind: 'gap' };
      if (last) return;
      if (!idle) yield { kind: 'idle' };
      idle = true;
      // What was written before the container ended may have come after the last read: one more look.
      last = await finished();
      if (!last) await sleep(POLL_MS, undefined, { signal }).catch(() => {});
    }
  } finally {
    await file.close();
  }
}

async function readAt(file: FileHandle, position: number, most = READ_BYTES): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(most, READ_BYTES)));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
  return buffer.subarray(0, bytesRead);
}
