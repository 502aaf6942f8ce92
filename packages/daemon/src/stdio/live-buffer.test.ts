// What the live buffer says that it holds is what it holds, whatever the pieces are and wherever their memory comes from.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveBuffer, run } from './live-buffer.ts';

/** Pieces of every kind: single bytes of both streams, some that fill a slab, some that share a read of 4096 bytes, large ones. */
const PIECES: readonly (readonly [stream: 1 | 2, bytes: number])[] = [
  [1, 1],
  [2, 1],
  [2, 700],
  [1, 1024],
  [1, 1024],
  [2, 1024],
  [1, 2000],
  [2, 2000],
  [1, 1],
  [1, 4096],
  [2, 1],
  [2, 60_000],
  [1, 3],
];

function filled(): { readonly live: LiveBuffer; readonly written: { readonly stream: 1 | 2; readonly byte: number }[] } {
  const live = new LiveBuffer(7);
  const written: { stream: 1 | 2; byte: number }[] = [];
  for (let round = 0; round < 20; round++) {
    for (const [stream, bytes] of PIECES) {
      // As a connection that is quiet gives it: a view of a read of 4096 bytes.
      const read = Buffer.alloc(Math.max(4096, bytes), (round * 31 + bytes) % 251);
      live.push(stream, live.head, read.subarray(0, bytes));
      for (let n = 0; n < bytes; n++) written.push({ stream, byte: read[0] ?? 0 });
    }
  }
  return { live, written };
}

test('a buffer that has been emptied costs nothing, however it was emptied', () => {
  const byOffset = filled().live;
  assert.ok(byOffset.cost > byOffset.head - byOffset.tail);
  byOffset.trimToOffset(byOffset.head);
  assert.equal(byOffset.cost, 0);
  const byCost = filled().live;
  byCost.trimToCost(0);
  byCost.trimToOffset(byCost.head);
  assert.equal(byCost.cost, 0);
  const reset = filled().live;
  reset.reset(5);
  assert.equal(reset.cost, 0);
});

test('runs of one stream, from any offset on', () => {
  const { live, written } = filled();
  const read: { stream: 1 | 2; byte: number }[] = [];
  for (let at = live.tail; at < live.head; ) {
    const chunk = live.chunk(live.find(at));
    assert.ok(chunk !== undefined);
    const { stream, data } = run(chunk, at);
    assert.ok(data.length > 0);
    // Not always all of it, so that the next one begins in the midst of a run.
    const taken = at % 3 === 0 ? Math.ceil(data.length / 2) : data.length;
    for (let n = 0; n < taken; n++) read.push({ stream, byte: data[n] ?? -1 });
    at += taken;
  }
  assert.deepEqual(read, written);
});
