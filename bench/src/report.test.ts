// The table: ratios and bounds, also those between two scenarios of one runtime.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { table } from './report.ts';
import type { Result } from './run.ts';
import type { Metric } from './scenario.ts';

const result = (name: string, metric: Metric, berth: number, peer: number): Result => ({
  scenario: { name, title: name, metrics: [metric], prepare: () => Promise.reject(new Error('not run')) },
  outcomes: new Map([
    ['berth', { samples: { rate: [berth] } }],
    ['peer', { samples: { rate: [peer] } }],
  ]),
});

test('a bound against the peer, and one against another scenario of the same runtime', () => {
  const whole = result('whole', { of: 'rate', title: 'rate', unit: 'MB/s', atLeast: 3 }, 800, 400);
  const partOf = { scenario: 'whole', of: 'rate', title: 'part of the whole', atLeast: 0.5 };
  const part = (berth: number): Result =>
    result('part', { of: 'rate', title: 'rate', unit: 'MB/s', atLeast: 2, partOf }, berth, 100);
  const cells = (results: readonly Result[]): string[][] =>
    table(results, ['berth', 'peer']).map((line) => line.trim().split(/ {2,}/));
  assert.deepEqual(cells([whole, part(600)]).slice(1), [
    ['whole'],
    ['rate, MB/s', '800', '400', '2', '>= 3', 'NO'],
    ['part'],
    ['rate, MB/s', '600', '100', '6', '>= 2', 'yes'],
    ['part of the whole', '0.75', '0.25', '>= 0.5', 'yes'],
  ]);
  assert.deepEqual(cells([whole, part(300)]).at(-1), ['part of the whole', '0.375', '0.25', '>= 0.5', 'NO']);
  assert.equal(cells([part(300)]).length, 3, 'the other one was not measured');
});
