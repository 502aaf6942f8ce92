import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Patience } from './patience.ts';

const MB = 1_000_000;

function fixture() {
  const state = { now: 1_000 };
  return { state, patience: new Patience(() => state.now) };
}

/** What was given at the beginning is used up. */
function spent() {
  const all = fixture();
  assert.equal(all.patience.waitFor(0), 20);
  all.state.now += 20;
  assert.equal(all.patience.waitFor(0), 0);
  return all;
}

test('who has taken nothing yet is waited for, once', () => {
  const { state, patience } = fixture();
  assert.equal(patience.waitFor(0), 20);
  assert.equal(patience.waits, true);
  state.now += 25;
  assert.equal(patience.waitFor(0), 0);
  assert.equal(patience.waits, false);
  state.now += 1_000;
  assert.equal(patience.waitFor(0), 0, 'time alone earns nothing');
});

test('waiting is earned by what is taken, 10 ms for each MB, 20 ms at most', () => {
  const { state, patience } = spent();
  assert.equal(patience.waitFor(1 * MB), 10);
  state.now += 4;
  assert.equal(patience.waitFor(1 * MB), 6);
  assert.equal(patience.waitFor(100 * MB), 20);
});

test('a client that stops is waited for no longer than was earned; a quick one again and again', () => {
  const { state, patience } = spent();
  assert.equal(patience.waitFor(1 * MB), 10);
  state.now += 10;
  assert.equal(patience.waitFor(1 * MB), 0);
  for (let mb = 2; mb < 100; mb += 1) {
    assert.ok(patience.waitFor(mb * MB) > 0);
    state.now += 9;
  }
});

test('a client at 50 MB/s makes its container wait half of the time at most', () => {
  const { state, patience } = fixture();
  let [waited, taken] = [0, 0];
  for (let ms = 0; ms < 10_000; ms += 1) {
    if (patience.waitFor(taken) > 0) waited += 1;
    state.now += 1;
    taken += 50_000;
  }
  assert.ok(waited <= 5_020, String(waited));
});

test('time that nobody waits costs nothing', () => {
  const { state, patience } = spent();
  assert.equal(patience.waitFor(1 * MB), 10);
  patience.rest();
  state.now += 1_000;
  assert.equal(patience.waitFor(1 * MB), 10);
});

test('bytes earn once, also when the client was away in between', () => {
  const { state, patience } = spent();
  assert.equal(patience.waitFor(1 * MB), 10);
  state.now += 10;
  patience.rest();
  assert.equal(patience.waitFor(1 * MB), 0);
});
