/**
 * Loaded before every test file: a test that fails by an error that hides others (thrown while cleaning up after another one) says all of
 * them. The runner hands on message and stack of the outermost only.
 */
import { afterEach } from 'node:test';
import { inspect } from 'node:util';

/** Errors within errors; more than this is a cycle. */
const MAX_DEPTH = 8;

// The process that runs the files has no tests of its own, nor have those that a test starts with its own flags.
if (process.env['NODE_TEST_CONTEXT'] !== undefined && process.argv[1]?.endsWith('.test.ts')) {
  afterEach((context) => {
    const error = 'error' in context ? context.error : undefined;
    if (hides(error)) process.stderr.write(`${context.fullName} failed by several errors:\n${tell(error)}\n`);
  });
}

/**
 * Whether the runner's report of an error leaves some of it out.
 * @param {unknown} error
 * @returns {boolean}
 */
function hides(error, depth = 0) {
  if (!(error instanceof Error) || depth > MAX_DEPTH) return false;
  return error instanceof SuppressedError || error instanceof AggregateError || hides(error.cause, depth + 1);
}

/**
 * An error with everything in it, the outermost first.
 * @param {unknown} error
 * @returns {string}
 */
function tell(error, depth = 0) {
  if (!(error instanceof Error) || depth > MAX_DEPTH) return inspect(error);
  /** @type {[string, unknown][]} */
  const inner = [];
  if (error instanceof SuppressedError) inner.push(['first', error.suppressed], ['while cleaning up after it', error.error]);
  if (error instanceof AggregateError) error.errors.forEach((one, i) => inner.push([`error ${i + 1}`, one]));
  if (error.cause !== undefined) inner.push(['cause', error.cause]);
  const parts = inner.map(([what, one]) => `\n[${what}] ${tell(one, depth + 1)}`.replaceAll('\n', '\n  '));
  return `${error.stack ?? String(error)}${parts.join('')}`;
}
