import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { noTurnFor } from '../testing/stops.ts';
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
  await sleep(2_000);
  assert.ok(!done, 'the client has not got what was written within the first second');
  const { head } = state;
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

test('a process that was stopped has heard no silence: what comes right afterwards is part of the answer', async () => {
  let head = 0;
  let asked = 0;
  const settled = settleAfterEof({
    tty: false,
    unread: () => Promise.resolve(0),
    head: () => head,
    delivered: () => true,
    reached: (offset) => {
      asked = offset;
      return true;
    },
    signal: new AbortController().signal,
  });
  await sleep(60);
  noTurnFor(1_000);
  setTimeout(() => (head = 5), 50);
  assert.equal(await settled, true);
  assert.equal(asked, 5);
});
