// The memory of what clients send is collected as it goes by, and only where Node has been told to give the means.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { COLLECT_AFTER_BYTES, readIntoFreshMemory } from './read-memory.ts';

const before = globalThis.gc;
afterEach(() => {
  globalThis.gc = before;
});

test('one collection of what is young for so many bytes, however they come', () => {
  const asked: unknown[] = [];
  globalThis.gc = ((options: unknown) => void asked.push(options)) as typeof globalThis.gc;
  const piece = COLLECT_AFTER_BYTES / 128;
  for (let i = 0; i < 128 * 3; i++) readIntoFreshMemory(piece);
  assert.deepEqual(
    asked,
    Array.from({ length: 3 }, () => ({ type: 'minor', execution: 'sync' })),
  );
  readIntoFreshMemory(COLLECT_AFTER_BYTES - 1);
  assert.equal(asked.length, 3);
  readIntoFreshMemory(1);
  assert.equal(asked.length, 4);
});

test('without the means there is nothing to do', () => {
  globalThis.gc = undefined;
  readIntoFreshMemory(2 * COLLECT_AFTER_BYTES);
});
