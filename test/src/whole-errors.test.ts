/** What a run says of a test that fails while it cleans up after a failure: both. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runOfTests } from './run-of-tests.ts';

const HOOK = new URL('../../scripts/test/whole-errors.mjs', import.meta.url).href;

const FAILING = `
import { test } from 'node:test';
test('twice', async () => {
  await using thing = { async [Symbol.asyncDispose]() { throw new Error('of the cleaning', { cause: new Error('deep below') }); } };
  throw new Error('of the test itself');
});
test('several', () => Promise.reject(new AggregateError([new Error('the one'), new Error('the other')])));
test('once', () => { throw new Error('nothing hidden'); });
`;

test('errors that hide in others are told', () => {
  const run = runOfTests('failing.test.ts', FAILING, [`--import=${HOOK}`, '--test-reporter=tap']);
  assert.equal(run.status, 1);
  const said = `${run.stdout}${run.stderr}`;
  assert.match(said, /twice failed by several errors/);
  assert.match(said, /\[first\] Error: of the test itself/);
  assert.match(said, /\[while cleaning up after it\] Error: of the cleaning/);
  assert.match(said, /\[cause\] Error: deep below/);
  assert.match(said, /\[error 1\] Error: the one/);
  assert.match(said, /\[error 2\] Error: the other/);
  assert.doesNotMatch(said, /once failed by several errors/);
});
