// Tables, JSON and words, and that nothing printed controls a terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { harmless } from '../logs/harmless.ts';
import { age, shortId, size, time } from './format.ts';
import { json } from './json.ts';
import { table } from './table.ts';
import { visible } from './visible.ts';

test('columns are as wide as their widest cell and nothing is cut', () => {
  const long = 'n'.repeat(100);
  assert.equal(
    table(
      ['A', 'BB'],
      [
        ['1', long],
        ['333', ''],
      ],
    ),
    `A     BB\n1     ${long}\n333\n`,
  );
});

test('a table without rows is its heading', () => {
  assert.equal(table(['A', 'B'], []), 'A   B\n');
});

test('control characters in cells are shown', () => {
  assert.equal(table(['A'], [['\x1b]0;x\x07\n\u202e\u009b']]), 'A\n\\x1b]0;x\\x07\\x0a\\u202e\\x9b\n');
  assert.equal(visible('schön 漢字 🙂'), 'schön 漢字 🙂');
});

test('JSON has no byte that a terminal obeys, and is still the same', () => {
  const value = { a: '\x1b[31m\u009b\x7f', b: [1n.toString()] };
  const text = json(value);
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  assert.deepEqual(JSON.parse(text), value);
});

test('ages and sizes in their largest unit', () => {
  const now = 1_800_000_000_000;
  const before = (seconds: number): bigint => BigInt(now - seconds * 1000) * 1_000_000n;
  assert.deepEqual(
    [0, 59, 60, 3599, 3600, 86_400, 800_000].map((s) => age(before(s), now)),
    ['0s', '59s', '1m', '59m', '1h', '1d', '9d'],
  );
  assert.equal(age(0n), '-');
  assert.deepEqual([0n, 999n, 4_200_000n, 12_345_678_901n].map(size), ['0 B', '999 B', '4.2 MB', '12.3 GB']);
  assert.equal(time(1_800_000_000_123_456_789n), '2027-01-15T08:00:00.123Z');
  assert.equal(shortId(`sha256:${'a'.repeat(64)}`), 'a'.repeat(12));
});

test('log lines on a terminal keep colours, tabs and text, and nothing else that controls it', () => {
  const show = (text: string): string => harmless(Buffer.from(text)).toString();
  assert.equal(show('\x1b[1;31mred\x1b[0m\tplain ü'), '\x1b[1;31mred\x1b[0m\tplain ü\x1b[0m');
  assert.equal(show('\x1b]52;c;AAAA\x07'), '^[]52;c;AAAA^G');
  assert.equal(show('\x1b[2Jx'), '^[[2Jx');
  assert.equal(show('a\rb\r'), 'a^Mb');
  assert.equal(show('\u009b31m'), '\\x9b31m');
});
