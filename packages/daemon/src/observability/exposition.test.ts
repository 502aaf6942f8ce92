// The text format, read back by a strict parser; counters and histograms by labels.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseExposition, valueOf } from '../testing/parse-exposition.ts';
import { Counts, Histograms } from './counts.ts';
import { exposition } from './exposition.ts';
import { counter, gauge } from './metric.ts';

test('what is written is read back as it was, whatever stands in labels and helps', () => {
  const odd = 'a"b\\c\nd\\n,e="f"} 1';
  const text = exposition([
    counter('a_total', 'a \\ and\na second line', [{ labels: { x: odd, y: '' }, value: 3 }]),
    gauge('b', 'b', 2.5e-9),
    gauge('c', 'c', [
      { labels: { k: 'nan' }, value: Number.NaN },
      { labels: { k: 'inf' }, value: Number.POSITIVE_INFINITY },
      { labels: { k: 'big' }, value: 2 ** 53 - 1 },
    ]),
    gauge('d', 'nothing yet', []),
  ]);
  const families = parseExposition(text);
  assert.deepEqual(families.get('a_total')?.samples, [{ name: 'a_total', labels: { x: odd, y: '' }, value: 3 }]);
  assert.equal(valueOf(families, 'b'), 2.5e-9);
  assert.ok(Number.isNaN(valueOf(families, 'c', { k: 'nan' })));
  assert.equal(valueOf(families, 'c', { k: 'inf' }), Number.POSITIVE_INFINITY);
  assert.equal(valueOf(families, 'c', { k: 'big' }), Number.MAX_SAFE_INTEGER);
  assert.deepEqual(families.get('d')?.samples, []);
});

test('a histogram counts a value in its bucket, bounds included, and is cumulative when shown', () => {
  const histograms = new Histograms([0.1, 1, 10]);
  for (const value of [0.05, 0.1, 0.100001, 1, 11, 0]) histograms.observe({ kind: 'x' }, value);
  histograms.observe({ kind: 'y' }, 5);
  const families = parseExposition(exposition([{ name: 'h_seconds', help: 'h', type: 'histogram', series: histograms.series() }]));
  const buckets = ['0.1', '1', '10', '+Inf'].map((le) => valueOf(families, 'h_seconds_bucket', { kind: 'x', le }));
  assert.deepEqual(buckets, [3, 5, 5, 6]);
  assert.equal(valueOf(families, 'h_seconds_count', { kind: 'x' }), 6);
  assert.equal(valueOf(families, 'h_seconds_sum', { kind: 'y' }), 5);
});

test('label sets are bounded: what is beyond counts as other', () => {
  const counts = new Counts();
  for (let each = 0; each < 5_000; each += 1) counts.add({ code: String(each) });
  const samples = counts.samples();
  assert.ok(samples.length <= 1_001, `${samples.length} sets`);
  assert.equal(
    samples.reduce((sum, { value }) => sum + value, 0),
    5_000,
  );
  assert.equal(samples.find(({ labels }) => labels?.['code'] === 'other')?.value, 4_000);
});

test('the parser finds what a scraper would refuse', () => {
  const head = '# HELP a_total a\n# TYPE a_total counter\n';
  for (const [text, why] of [
    [`${head}a_total 1`, 'no end of line'],
    ['a_total 1\n', 'no family'],
    [`${head}a_total 1\na_total 2\n`, 'twice'],
    [`${head}a_total{x="1"} -1\n`, 'below 0'],
    [`${head}a_total{x="1} 1\n`, 'quote'],
    [`${head}a_total{x="\\d"} 1\n`, 'escape'],
    [`${head}a_total one\n`, 'number'],
    [`${head}b 1\n`, 'other family'],
    [`${head}${head}`, 'family twice'],
    ['# HELP a a\n# TYPE a counter\n', 'counter name'],
    ['# HELP h h\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n', 'no +Inf'],
    ['# HELP h h\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n', 'not cumulative'],
  ] as const) {
    assert.throws(() => parseExposition(text), Error, why);
  }
});
