import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pipeEnds } from '../testing/pipe-ends.ts';
import { noTurnFor, unchanged } from '../testing/stops.ts';
import { type Settling, settleAfterEof } from './eof-settling.ts';

/** A container that writes a byte whenever it is looked at, and a client that is far behind. */
function fixture() {
  const over = new AbortController();
  const state = { head: 0, taken: 0 };
  const settling: Settling = {
    tty: true,
    unread: () => Promise.resolve(0),
    head: () => (state.head += 1),
    delivered: () => false,
    reached: (offset) => state.taken >= offset,
    signal: over.signal,
  };
  return { over, state, settled: settleAfterEof(settling) };
}

test('a container that never falls silent does not keep a session, but what it has written by then is delivered first', async () => {
  const { state, settled } = fixture();
  let done = false;
  void settled.then(() => (done = true));
  const head = await unchanged(() => state.head);
  // Twice in a look, of which a second has forty at most.
  assert.ok(head <= 82, `${head}`);
  assert.ok(!done, 'the client has not got what was written within the first second');
  assert.ok(head > 2);
  state.taken = head;
  assert.equal(await settled, true);
  assert.equal(state.head, head, 'what comes later is not waited for');
});

test('a session that ends while its client is behind has ended by that', async () => {
  const { over, settled } = fixture();
  await sleep(1_500);
  over.abort();
  assert.equal(await settled, false);
});

test('a process that was stopped has heard no silence: what came meanwhile is part of the answer', async (t) => {
  const [reader, writer] = pipeEnds();
  t.after(() => closeSync(writer));
  const output = new Socket({ fd: reader });
  t.after(() => output.destroy());
  let head = 0;
  let asked = 0;
  output.on('data', (chunk: Buffer) => (head += chunk.length));
  // Not yet the silence that ends it (250 ms, of which a look counts 100 at most), but with the stop it would be.
  const [before, atMost] = [150, 100];
  let [silence, lookedAt, stopped] = [0, performance.now(), false];
  const look = (): void => {
    const now = performance.now();
    silence += Math.min(now - lookedAt, atMost);
    lookedAt = now;
    if (stopped || silence < before) return;
    stopped = true;
    // Behind the reads of a turn: the next one begins with its timers.
    setImmediate(() => {
      writeSync(writer, 'answer');
      noTurnFor(1_000);
    });
  };
  const settled = settleAfterEof({
    tty: false,
    unread: () => Promise.resolve(0),
    head: () => {
      look();
      return head;
    },
    delivered: () => true,
    reached: (offset) => {
      asked = offset;
      return true;
    },
    signal: new AbortController().signal,
  });
  assert.equal(await settled, true);
  assert.deepEqual([stopped, asked], [true, 6]);
});
