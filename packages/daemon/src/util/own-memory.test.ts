// Which pieces are copied, and that a copy keeps nothing but itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownMemory, ownMemoryIfShort } from './own-memory.ts';

const READ_BYTES = 64 * 1024;

/** A piece out of the middle of a socket's read. */
function pieceOf(bytes: number): Buffer {
  const read = Buffer.from(new ArrayBuffer(READ_BYTES)).fill('.');
  return read.fill('x', 7, 7 + bytes).subarray(7, 7 + bytes);
}

test('what waits is copied where it is less than half of its memory', () => {
  for (const bytes of [1, 1_000, READ_BYTES / 2 - 1]) {
    const own = ownMemory(pieceOf(bytes));
    assert.equal(own.buffer.byteLength, bytes);
    assert.equal(own.toString(), 'x'.repeat(bytes));
  }
  for (const bytes of [READ_BYTES / 2, READ_BYTES - 7]) {
    const piece = pieceOf(bytes);
    assert.equal(ownMemory(piece), piece);
  }
});

test('a small buffer out of the pool that all share is copied too', () => {
  assert.equal(ownMemory(Buffer.from('a')).buffer.byteLength, 1);
});

test('what is handed on at once is copied where it is short', () => {
  assert.equal(ownMemoryIfShort(pieceOf(1)).buffer.byteLength, 1);
  const long = pieceOf(READ_BYTES / 4);
  assert.equal(ownMemoryIfShort(long), long);
});
