/** What a run keeps of its tests: their numbers, and each failure with its name, its place and its error. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runOfTests } from './run-of-tests.ts';

const REPORTER = fileURLToPath(new URL('../../scripts/test/outcome-reporter.mjs', import.meta.url));

const TESTS = `
import { describe, test } from 'node:test';
test('good', () => {});
describe('outer', () => {
  describe('inner', () => {
    test('good as well', () => {});
    test('deep', () => { throw new Error('of the deep one'); });
  });
  test('later', () => { throw new Error('x'.repeat(100_000)); });
});
test('left out', { skip: true }, () => {});
test('parent', async (t) => {
  await t.test('child', () => Promise.reject(new TypeError('of the child')));
});
`;

const REPORT = [`--test-reporter=${REPORTER}`];

test('failures are kept with their names and errors, parents are not failures of their own, numbers come last', () => {
  const run = runOfTests('some.test.mjs', TESTS, REPORT);
  assert.equal(run.status, 1);
  const lines = run.stdout.trim().split('\n');
  const numbers: unknown = JSON.parse(lines.pop() ?? '');
  const failures = lines.map((line) => JSON.parse(line) as { test: string; where: string; error: string });
  assert.deepEqual(
    failures.map((failure) => failure.test),
    ['outer > inner > deep', 'outer > later', 'parent > child'],
  );
  assert.match(failures[0]?.error ?? '', /^Error: of the deep one\n +at .*some\.test\.mjs/);
  assert.match(failures[0]?.where ?? '', /some\.test\.mjs:7$/);
  assert.ok((failures[1]?.error ?? '').length < 5_000);
  assert.match(failures[2]?.error ?? '', /^TypeError: of the child/);
  assert.deepEqual(numbers, { passed: 2, failed: 4, skipped: 1 });
});

test('a file that cannot be loaded is a failure with its name', () => {
  const run = runOfTests('broken.test.mjs', "import './not-there.mjs';\n", REPORT);
  const [failure, numbers, ...more] = run.stdout.trim().split('\n');
  assert.match(failure ?? '', /broken\.test\.mjs/);
  assert.deepEqual(JSON.parse(numbers ?? ''), { passed: 0, failed: 1, skipped: 0 });
  assert.deepEqual(more, []);
});
