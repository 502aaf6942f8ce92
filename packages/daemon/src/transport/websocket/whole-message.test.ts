// Pieces put together, and what they cost while they wait.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { collectGarbage } from '../../testing/collect-garbage.ts';
import { WholeMessage } from './whole-message.ts';

test('pieces of any length come out as they came, once', () => {
  const message = new WholeMessage();
  assert.equal(message.take().length, 0);
  const pieces = [3, 0, 1, 5_000, 1, 1, 70_000].map((bytes, i) => Buffer.alloc(bytes, i + 1));
  for (const piece of pieces) message.append(piece);
  const expected = Buffer.concat(pieces);
  assert.equal(message.length, expected.length);
  assert.deepEqual(message.take(), expected);
  assert.equal(message.length, 0);
  message.append(Buffer.from('gone'));
  message.clear();
  message.append(Buffer.from('next'));
  assert.equal(message.take().toString(), 'next');
});

test('half a million pieces of one byte cost their bytes', () => {
  const count = 500_000;
  const piece = Buffer.alloc(64 * 1024).subarray(0, 1);
  const message = new WholeMessage();
  collectGarbage();
  const before = process.memoryUsage();
  for (let i = 0; i < count; i += 1) message.append(piece);
  collectGarbage();
  const after = process.memoryUsage();
  const cost = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  assert.equal(message.length, count);
  assert.ok(cost < 8 * count, `${cost} bytes`);
});
