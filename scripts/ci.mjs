/** What .ci/run does, step by step; each step's time is printed, and what really ran is counted. */
import { spawnSync } from 'node:child_process';
import { leftBehind, snapshot } from './ci/leaks.mjs';
import { projectNode, root } from './setup/paths.mjs';
import { orExplain } from './setup/say.mjs';
import { setUp } from './setup.mjs';

/** The share of a suite's last line that counts. */
const COUNTS = /^(\d+) passed, (\d+) failed/gm;

const totals = { passed: 0, failed: 0 };
const before = snapshot();

await step('set-up', () => orExplain(async () => setUp()));
await step('check', () => count(run('scripts/check.mjs')));
await step('tests', () => count(run('scripts/test.mjs')));
await step('demo', () => count(run('scripts/demo.mjs')));
await step('real clients', () => count(run('scripts/test.mjs', ['interop'])));
await step('nothing left behind', async () => {
  const left = await leftBehind(before);
  for (const line of left) console.log(`left behind: ${line}`);
  count({ ok: left.length === 0, output: '' });
});
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 && totals.passed > 0 ? 0 : 1);

/** A step that throws has failed; the others still run, so that one run tells everything. */
async function step(name, work) {
  const start = performance.now();
  console.log(`\n=== ${name}`);
  try {
    await work();
  } catch (error) {
    totals.failed += 1;
    console.log(error instanceof Error ? error.stack : error);
  }
  console.log(`=== ${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** Runs a script with its output shown and kept. `-a`: where the output goes into a file, opening it again must not empty it. */
function run(script, args = [], env = {}) {
  const command = `set -o pipefail; "$0" "$@" 2>&1 | tee -a /dev/fd/3`;
  const result = spawnSync('bash', ['-c', command, projectNode, `${root}/${script}`, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'inherit', process.stdout.fd],
  });
  return { ok: result.status === 0, output: result.stdout };
}

/** Adds what a step says it has counted; a step that counts nothing is one test. */
function count({ ok, output }) {
  const last = [...output.matchAll(COUNTS)].at(-1);
  const passed = last === undefined ? Number(ok) : Number(last[1]);
  const failed = last === undefined ? Number(!ok) : Number(last[2]);
  totals.passed += passed;
  totals.failed += !ok && failed === 0 ? 1 : failed;
}
