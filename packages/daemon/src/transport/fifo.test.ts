// Order, and that what was taken is let go.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectGarbage } from '../testing/collect-garbage.ts';
import { Fifo } from './fifo.ts';

test('items come out in order, however pushes and shifts mix', () => {
  const fifo = new Fifo<number>();
  let pushed = 0;
  let taken = 0;
  for (let round = 0; round < 2_000; round += 1) {
    for (let i = 0; i < round % 7; i += 1) fifo.push(pushed++);
    for (let i = 0; i < round % 5 && fifo.length > 0; i += 1) assert.equal(fifo.shift(), taken++);
    assert.equal(fifo.length, pushed - taken);
  }
  while (fifo.length > 0) assert.equal(fifo.shift(), taken++);
  assert.equal(taken, pushed);
  assert.equal(fifo.shift(), undefined);
  assert.equal(fifo.length, 0);
});

test('a queue that is never empty keeps nothing that was taken', async () => {
  const fifo = new Fifo<object>();
  for (let i = 0; i < 3; i += 1) fifo.push({ i });
  const taken = Array.from({ length: 1_000 }, (_, i) => {
    fifo.push({ i });
    return new WeakRef(fifo.shift() as object);
  });
  // What a WeakRef has shown lives to the end of the turn.
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  assert.ok(taken.filter((ref) => ref.deref() !== undefined).length < 10);
  assert.equal(fifo.length, 3);
  fifo.clear();
  assert.equal(fifo.length, 0);
});
