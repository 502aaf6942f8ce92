/** Tests of the statistics. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, quantile } from './stats.ts';

test('the median of an even number of samples lies between the two in the middle', () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([10, 9, 1]), 9);
});

test('quantiles compare numbers, not texts, and leave the samples as they were', () => {
  const samples = [100, 20, 3];
  assert.equal(quantile(samples, 0), 3);
  assert.equal(quantile(samples, 1), 100);
  assert.deepEqual(samples, [100, 20, 3]);
});

test('no samples, no value', () => assert.ok(Number.isNaN(median([]))));
