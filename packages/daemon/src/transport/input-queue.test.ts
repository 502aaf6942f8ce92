// Order and bounds of waiting input.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { keptBytes } from '../testing/collect-garbage.ts';
import { type InputEvents, InputQueue } from './input-queue.ts';

const PATIENCE_MS = 30_000;

function recorded(pauseAfter = Number.POSITIVE_INFINITY): { queue: InputQueue; events: string[] } {
  const events: string[] = [];
  let left = pauseAfter;
  const heard: InputEvents = {
    stdin: (chunk) => {
      events.push(chunk.length > 20 ? `stdin of ${chunk.length}` : chunk.toString());
      left -= 1;
      if (left === 0) queue.pause();
    },
    stdinEof: () => events.push('EOF'),
    closed: (reason) => events.push(`closed ${reason}`),
  };
  const queue = new InputQueue(heard, PATIENCE_MS);
  return { queue, events };
}

const big = (byte: string): Buffer => Buffer.alloc(2_000, byte);

test('small pieces of one read become one chunk', () => {
  const { queue, events } = recorded();
  for (const piece of ['a', 'b', 'c']) queue.push(Buffer.from(piece));
  assert.deepEqual(events, []);
  queue.flush();
  queue.push(Buffer.from('d'));
  queue.push(big('x'));
  assert.deepEqual(events, ['abc', 'd', 'stdin of 2000']);
});

test('while paused everything waits, in order, and is counted', () => {
  const { queue, events } = recorded(1);
  queue.push(big('1'));
  queue.push(big('2'));
  queue.push(Buffer.from('3'));
  queue.eof();
  queue.close('gone');
  assert.deepEqual(events, ['stdin of 2000']);
  assert.ok(queue.bytes > 2_001);
  queue.resume();
  assert.deepEqual(events, ['stdin of 2000', 'stdin of 2000', '3', 'EOF', 'closed gone']);
  assert.equal(queue.bytes, 0);
});

test('the end is told even to a paused session when nothing waits before it', () => {
  const { queue, events } = recorded(1);
  queue.push(big('1'));
  queue.eof();
  queue.close('gone');
  queue.close('again');
  assert.deepEqual(events, ['stdin of 2000', 'EOF', 'closed gone']);
});

test('pausing from within stops at that chunk', () => {
  const { queue, events } = recorded(2);
  queue.pause();
  for (const piece of ['a', 'b', 'c']) {
    queue.push(Buffer.from(piece));
    queue.flush();
  }
  queue.resume();
  assert.deepEqual(events, ['a', 'b']);
  queue.resume();
  assert.deepEqual(events, ['a', 'b', 'c']);
});

test('discarding gives up the waiting input and says closed', () => {
  const { queue, events } = recorded();
  queue.pause();
  queue.push(big('1'));
  queue.eof();
  queue.close('gone');
  queue.discard();
  assert.deepEqual(events, ['closed gone']);
});

/** A queue whose client has gone while input waits. */
function left(): ReturnType<typeof recorded> {
  const both = recorded();
  both.queue.pause();
  both.queue.push(big('1'));
  both.queue.eof();
  both.queue.close('gone');
  both.queue.close('again');
  return both;
}

test('input that nobody takes after the client has gone is given up in time', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { events } = left();
  t.mock.timers.tick(PATIENCE_MS - 1);
  assert.deepEqual(events, []);
  t.mock.timers.tick(1);
  assert.deepEqual(events, ['closed gone']);
});

for (const [how, end] of [
  ['has been taken', (queue: InputQueue) => queue.resume()],
  ['is not wanted any more', (queue: InputQueue) => queue.stop()],
] as const) {
  test(`when input of a client that has gone ${how}, nothing keeps its session`, async () => {
    // In a function of its own, so that no variable of this one refers to the queue.
    const make = (): WeakRef<InputQueue> => {
      const { queue } = left();
      end(queue);
      queue.close('late');
      return new WeakRef(queue);
    };
    const kept = make();
    await keptBytes();
    assert.equal(kept.deref(), undefined);
  });
}

test('a stopped queue says nothing', () => {
  const { queue, events } = recorded();
  queue.pause();
  queue.push(big('1'));
  queue.stop();
  queue.resume();
  queue.push(big('2'));
  queue.close('gone');
  assert.deepEqual(events, []);
});

test('what waits is copied, since the memory of a read is used again', () => {
  const chunks: Buffer[] = [];
  const heard: InputEvents = { stdin: (chunk) => chunks.push(chunk), stdinEof: () => undefined, closed: () => undefined };
  const queue = new InputQueue(heard, PATIENCE_MS);
  const read = Buffer.alloc(64 * 1024);
  const sizes = [1, 2_000, 40_000];
  const pushAll = (): void => {
    for (const [i, bytes] of sizes.entries()) {
      queue.push(read.fill(i + 1).subarray(0, bytes));
      queue.flush();
      read.fill(0xff);
    }
  };
  pushAll();
  assert.deepEqual(
    chunks.splice(0).map(({ buffer, length }) => [buffer === read.buffer, length]),
    sizes.map((bytes) => [true, bytes]),
    'what need not wait is handed on as it is',
  );
  queue.pause();
  pushAll();
  queue.resume();
  assert.deepEqual(
    chunks,
    sizes.map((bytes, i) => Buffer.alloc(bytes, i + 1)),
  );
  for (const { length, buffer } of chunks) assert.equal(buffer.byteLength, length, 'nothing else is kept with it');
});
