import assert from 'node:assert/strict';
import type { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pace } from './pace.ts';

const KIB = 1024;

function fixture(unsent = 0) {
  const state = { now: 0, opened: 0, marks: [] as Buffer[] };
  const pace = new Pace({
    ping: (payload) => state.marks.push(payload),
    opened: () => (state.opened += 1),
    unsent: () => Promise.resolve(unsent),
    now: () => state.now,
  });
  /** Sends until it is closed; gives the bytes. */
  const fill = (): number => {
    let bytes = 0;
    for (; !pace.closed && bytes < 64 * KIB * KIB; bytes += 16 * KIB) pace.sent(16 * KIB);
    return bytes;
  };
  const answer = (afterMs: number): void => {
    state.now += afterMs;
    pace.pong(state.marks.at(-1)!);
  };
  return { pace, state, fill, answer };
}

test('a client that reads slowly never has more than 256 KiB and a chunk in front of a pong', () => {
  const { state, fill, answer } = fixture();
  assert.equal(fill(), 256 * KIB);
  assert.equal(state.marks.length, 1);
  let sent = 256 * KIB;
  for (let i = 0; i < 20; i += 1) {
    answer(6_000);
    assert.equal(state.opened > 0, true);
    sent += fill();
  }
  // Each answered mark lets in at most what stood before it.
  assert.ok(sent < 21 * 256 * KIB + 16 * KIB, String(sent));
});

test('a quick client gets a window that grows, 1 MiB near by and 16 MiB far away; slow again, small again', () => {
  for (const [roundTrip, most] of [
    [1, 1024 * KIB],
    [100, 16 * 1024 * KIB],
  ] as const) {
    const { fill, answer } = fixture();
    for (let i = 0; i < 40; i += 1) {
      fill();
      answer(roundTrip);
    }
    // Everything that is on its way is behind the mark that was sent last.
    fill();
    for (let i = 0; i < 2; i += 1) {
      answer(roundTrip);
      assert.ok(fill() <= most);
    }
    answer(5_000);
    answer(5_000);
    assert.ok(fill() <= 256 * KIB);
  }
});

test('several marks are on their way: each answer makes room up to its place, and one answers those before it too', () => {
  const { pace, state, fill, answer } = fixture();
  fill();
  // Slow enough for the window to stay as it is.
  answer(1_000);
  fill();
  answer(1_000);
  const before = state.marks.length;
  fill();
  const [first, second, third] = state.marks.slice(before);
  assert.ok(first !== undefined && second !== undefined && third !== undefined, `${state.marks.length - before} marks`);
  state.now += 1_000;
  pace.pong(second);
  assert.equal(pace.closed, false);
  // Up to the second mark, not to what was sent behind it.
  assert.equal(fill(), 128 * KIB);
  pace.pong(first);
  assert.equal(pace.closed, true);
  pace.pong(third);
  assert.equal(fill(), 64 * KIB);
});

test('a pong that answers no mark says nothing', () => {
  const { pace, state, fill } = fixture();
  fill();
  pace.pong(new Uint8Array(0));
  pace.pong(new Uint8Array([9, 9, 9, 9]));
  assert.equal(pace.closed, true);
  assert.equal(state.opened, 0);
});

test('input that is not read holds back no output', () => {
  const { pace, state, fill } = fixture();
  fill();
  pace.suspend();
  assert.equal(state.opened, 1);
  assert.equal(pace.closed, false);
  assert.equal(fill(), 64 * KIB * KIB);
  pace.resume();
  assert.equal(fill(), 256 * KIB);
});

test('a client that never answers is left to itself once it has taken everything, and not before', async () => {
  const [deaf, stopped] = [fixture(0), fixture(1)];
  deaf.fill();
  stopped.fill();
  await sleep(5_500);
  assert.equal(deaf.state.opened, 1);
  assert.equal(deaf.pace.closed, false);
  assert.equal(stopped.pace.closed, true);
});
