/**
 * A reporter of node:test for run-suites.mjs, in lines of JSON: one for each test that failed, with its error, as it fails; the last one
 * counts how many tests passed, failed and were skipped in this run.
 */
import { relative } from 'node:path';
import { inspect } from 'node:util';
import { root } from '../setup/paths.mjs';

/** What is told of one error, characters: a stack with its causes; a comparison of large buffers has no bound of its own. */
const MAX_ERROR = 4_000;

/** @param {AsyncIterable<{ type: string, data: any }>} source */
async function* outcomeReporter(source) {
  /** Names of the tests around the one that is reported, the outermost first: a subtest is reported before its parent ends. */
  const names = [];
  for await (const { type, data } of source) {
    if (type === 'test:start') names.splice(data.nesting, Infinity, data.name);
    // A parent that failed because of a subtest says nothing of its own.
    if (type === 'test:fail' && data.details.error?.failureType !== 'subtestsFailed') yield line(failure(data, names));
    // The summary of a single file names it; the one of the whole run does not.
    if (type === 'test:summary' && data.file === undefined) yield line(counts(data));
  }
}

/** @returns {import('./run-suites.mjs').Failure} */
function failure({ nesting, name, file, line: at, details }, names) {
  const error = details.error?.cause ?? details.error;
  const text = error?.stack ?? inspect(error);
  return {
    test: [...names.slice(0, nesting), name].join(' > '),
    where: file === undefined ? '' : `${relative(root, file)}:${at}`,
    error: text.length > MAX_ERROR ? `${text.slice(0, MAX_ERROR)} ...` : text,
  };
}

/** @returns {import('./run-suites.mjs').Counts} */
function counts({ counts: { tests, passed, failed = 0, cancelled, skipped, todo } }) {
  return { passed, failed: Math.max(failed, tests - passed - cancelled - skipped - todo) + cancelled, skipped };
}

function line(value) {
  return `${JSON.stringify(value)}\n`;
}

// node:test takes a reporter by its default export.
// oxlint-disable-next-line import/no-default-export
export default outcomeReporter;
