/** Waits of the tests' own servers for a slow peer. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/**
 * Room again after a `write` that returned false, or the stream's end. Takes its listeners away, also that for what did not happen: a
 * stream that lasts is waited for thousands of times.
 */
export async function room(stream: Writable): Promise<void> {
  if (!stream.writableNeedDrain || stream.destroyed) return;
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([once(stream, 'drain', { signal }), once(stream, 'close', { signal })]);
  } finally {
    over.abort();
  }
}
