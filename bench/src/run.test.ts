// Rounds: warm-ups are run and not counted, runtimes take turns, and a failure of one does not stop the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScenario } from './run.ts';
import type { RuntimeUnderTest } from './runtimes/runtime.ts';
import type { Bench, Scenario } from './scenario.ts';

const BENCH: Bench = { agent: '', quick: false, newFolder: (name) => name, note: () => undefined };
const runtime = (name: string): RuntimeUnderTest => ({ name }) as RuntimeUnderTest;

const counting = (order: string[], warmUps: number): Scenario => ({
  name: 'counting',
  title: '',
  metrics: [],
  warmUps,
  async prepare(_bench, { name }) {
    let rounds = 0;
    return {
      async round() {
        rounds += 1;
        order.push(`${name}${rounds}`);
        if (name === 'b' && rounds === 3) throw new Error('broken');
        return { value: [rounds] };
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
});

test('warm-up rounds are run in turn and leave no sample', async () => {
  const order: string[] = [];
  const { outcomes } = await runScenario(BENCH, counting(order, 2), [runtime('a'), runtime('c')], 2);
  assert.deepEqual(order, ['a1', 'c1', 'a2', 'c2', 'a3', 'c3', 'a4', 'c4']);
  assert.deepEqual(outcomes.get('a')?.samples, { value: [3, 4] });
});

test('a runtime that fails stops, and the other goes on', async () => {
  const order: string[] = [];
  const { outcomes } = await runScenario(BENCH, counting(order, 0), [runtime('a'), runtime('b')], 4);
  assert.deepEqual(outcomes.get('a')?.samples, { value: [1, 2, 3, 4] });
  assert.equal(outcomes.get('b')?.error, 'broken');
  assert.deepEqual(
    order.filter((name) => name.startsWith('b')),
    ['b1', 'b2', 'b3'],
  );
});
