// Memory is given back when there is something to give and nobody to wait for it.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { type TestContext, test } from 'node:test';
import { GROWN_BYTES, nodeMemory, RESTING_UTILIZATION, RestingMemory } from './resting-memory.ts';

/** Seconds pass one by one. */
function resting(
  t: TestContext,
  load: { heap: number; utilization: number },
): {
  readonly second: () => number;
  readonly dispose: () => void;
} {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let given = 0;
  const memory = new RestingMemory({
    utilization: () => load.utilization,
    heapBytes: () => load.heap,
    giveBack: () => {
      given += 1;
      load.heap -= 1;
    },
  });
  return {
    second: () => {
      t.mock.timers.tick(1_000);
      return given;
    },
    dispose: () => memory[Symbol.dispose](),
  };
}

test('what has grown is given back, once, at rest only', (t) => {
  const load = { heap: 2 * GROWN_BYTES, utilization: RESTING_UTILIZATION + 0.01 };
  const { second, dispose } = resting(t, load);
  assert.equal(second(), 0, 'it works');
  load.utilization = RESTING_UTILIZATION;
  assert.equal(second(), 1);
  assert.equal(second(), 1, 'nothing has grown since');
  // From what was left, not from what there was.
  load.heap += GROWN_BYTES - 1;
  assert.equal(second(), 1);
  load.heap += 1;
  assert.equal(second(), 2);
  load.heap += 2 * GROWN_BYTES;
  dispose();
  assert.equal(second(), 2);
});

test('a real heap that has grown is smaller afterwards, and a loop that works is seen to', async () => {
  setFlagsFromString('--expose-gc');
  const { runInNewContext } = await import('node:vm');
  const before = globalThis.gc;
  globalThis.gc = runInNewContext('gc') as typeof globalThis.gc;
  const memory = nodeMemory();
  globalThis.gc = before;
  assert.ok(memory !== undefined);
  memory.utilization();
  await sleep(200);
  assert.ok(memory.utilization() < 0.5);
  let kept: unknown[] | undefined = Array.from({ length: 1_000_000 }, (_, i) => ({ i }));
  assert.ok(memory.utilization() > 0.5);
  const grown = memory.heapBytes();
  assert.equal(kept.length, 1_000_000);
  kept = undefined;
  memory.giveBack();
  assert.ok(grown - memory.heapBytes() > 20 * 1024 * 1024, `${grown} bytes before, ${memory.heapBytes()} after`);
});

test('without the means there is nothing to do', () => {
  const before = globalThis.gc;
  globalThis.gc = undefined;
  assert.equal(nodeMemory(), undefined);
  globalThis.gc = before;
});
