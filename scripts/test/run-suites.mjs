/** Runs the suites under the project's Node and sums up; see scripts/test.mjs. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from '../setup/paths.mjs';
import { suites } from './suites.mjs';

/** No test may take longer, ms: generous, so that a slow machine fails nothing, and finite, so that a hang is a failure. */
const TEST_TIMEOUT = 600_000;

/** How many failures are told again at the end; the suites' own output has all of them. */
const MAX_TOLD = 50;

/**
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 * @typedef {{ test: string, where: string, error: string }} Failure
 * @typedef {Counts & { failures: Failure[] }} Outcome
 */

const chosen = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), 'berth-test-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

const totals = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const times = [];
for (const suite of select()) {
  const start = performance.now();
  console.log(`\n== ${suite.name} (${suite.files.length} files)`);
  const outcome = suite.name === 'shim' ? add(runMake(), runFiles(suite)) : runFiles(suite);
  totals.passed += outcome.passed;
  totals.failed += outcome.failed;
  totals.skipped += outcome.skipped;
  failures.push(...outcome.failures);
  times.push(
    `${suite.name}: ${outcome.passed} passed, ${outcome.failed} failed in ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
}
// After thousands of lines: whoever reads only the end of a run finds there what to look at.
if (failures.length > 0) console.log(`\n== failed\n${failures.slice(0, MAX_TOLD).map(tell).join('\n')}`);
if (failures.length > MAX_TOLD) console.log(`... and ${failures.length - MAX_TOLD} more`);
console.log(`\n${times.join('\n')}`);
if (totals.passed + totals.failed === 0) {
  console.log('no test ran');
  totals.failed = 1;
}
console.log(`${totals.passed} passed, ${totals.failed} failed${totals.skipped === 0 ? '' : `, ${totals.skipped} skipped`}`);
process.exitCode = totals.failed === 0 ? 0 : 1;

/** Suites by name, or single files; all suites when nothing is chosen. */
function select() {
  const all = suites();
  if (chosen.length === 0) return all.filter((suite) => suite.files.length > 0 && suite.onRequest !== true);
  const unknown = chosen.filter(
    (word) => !all.some((suite) => suite.name === word || suite.files.some((file) => file.includes(word))),
  );
  if (unknown.length > 0) {
    console.error(
      `no suite and no test file is called ${unknown.join(', ')}; suites: ${all.map((suite) => suite.name).join(', ')}`,
    );
    process.exit(2);
  }
  const files = (suite) =>
    chosen.includes(suite.name) ? suite.files : suite.files.filter((file) => chosen.some((word) => file.includes(word)));
  return all.map((suite) => ({ ...suite, files: files(suite) })).filter((suite) => suite.files.length > 0);
}

/** @param {import('./suites.mjs').Suite} suite @returns {Outcome} */
function runFiles({ name, files, jobs }) {
  const report = join(scratch, `${name}.json`);
  const reporters = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${join(root, 'scripts/test/outcome-reporter.mjs')}`,
    `--test-reporter-destination=${report}`,
  ];
  const args = [
    '--conditions=source',
    `--import=${pathToFileURL(join(root, 'scripts/test/whole-errors.mjs')).href}`,
    '--test',
    `--test-concurrency=${jobs}`,
    `--test-timeout=${TEST_TIMEOUT}`,
    ...reporters,
    ...files,
  ];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const outcome = readOutcome(report);
  // A run that failed without a failed test (a file that cannot be loaded, a crash) must not look like a success.
  if (status !== 0 && outcome.failed === 0) {
    outcome.failed = 1;
    outcome.failures.push({ test: `${name}: the run itself`, where: '', error: `status ${status}, with no failed test` });
  }
  return outcome;
}

/** The shim's own tests in C; each line `ok ...` or `not ok ...` is one. @returns {Outcome} */
function runMake() {
  const { status, stdout } = spawnSync('make', ['-s', '-C', 'shim', 'test'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 1024 * 1024,
  });
  process.stdout.write(stdout);
  const passed = stdout.match(/^ok\b/gm)?.length ?? 0;
  const failures = (stdout.match(/^not ok\b.*/gm) ?? []).map((error) => ({ test: 'shim in C', where: 'shim/test', error }));
  if (status !== 0 && failures.length === 0) {
    failures.push({ test: 'shim in C', where: 'shim/test', error: `make ended with status ${status}` });
  }
  return { passed: passed === 0 && status === 0 ? 1 : passed, failed: failures.length, skipped: 0, failures };
}

/** What a suite's report says; nothing when there is none, or when a crash has cut it off. @returns {Outcome} */
function readOutcome(report) {
  try {
    const lines = readFileSync(report, 'utf8').trim().split('\n');
    const failures = lines.map((line) => JSON.parse(line));
    return { ...failures.pop(), failures };
  } catch {
    return { passed: 0, failed: 0, skipped: 0, failures: [] };
  }
}

/** @param {Outcome} left @param {Outcome} right @returns {Outcome} */
function add(left, right) {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
    failures: [...left.failures, ...right.failures],
  };
}

/** @param {Failure} failure */
function tell({ test, where, error }) {
  return `* ${test}${where === '' ? '' : ` (${where})`}\n  ${error.replaceAll('\n', '\n  ')}`;
}
