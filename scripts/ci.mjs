/** What .ci/run does, step by step; each step's time is printed, and what really ran is counted. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { leftBehind, snapshot } from './ci/leaks.mjs';
import { projectNode, root } from './setup/paths.mjs';
import { orExplain } from './setup/say.mjs';
import { setUp } from './setup.mjs';

/** The share of a suite's last line that counts. */
const COUNTS = /^(\d+) passed, (\d+) failed/gm;

/** What a step that failed says once more at the end: its list of failed tests, or its last lines where it has none. */
const FAILED = /^== failed$[^]*/m;
const LAST_LINES = 40;

const totals = { passed: 0, failed: 0 };
/** What the steps that failed said, to be told at the end: whoever reads only that finds there what to look at. */
const failures = [];
const before = snapshot();

await step('set-up', () => orExplain(async () => setUp()));
await step('check', () => run('scripts/check.mjs'));
await step('tests', () => run('scripts/test.mjs'));
await step('demo', () => run('scripts/demo.mjs'));
await step('real clients', () => run('scripts/test.mjs', ['interop']));
await step('nothing left behind', async () => {
  const left = await leftBehind(before);
  const output = left.map((line) => `left behind: ${line}\n`).join('');
  process.stdout.write(output);
  return { ok: left.length === 0, output };
});
for (const { name, said } of failures) console.log(`\n=== ${name} failed\n${said}`);
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 && totals.passed > 0 ? 0 : 1);

/** A step that throws has failed; the others still run, so that one run tells everything. */
async function step(name, work) {
  const start = performance.now();
  console.log(`\n=== ${name}`);
  try {
    const result = await work();
    if (result !== undefined) count(name, result);
  } catch (error) {
    totals.failed += 1;
    failures.push({ name, said: error instanceof Error ? error.stack : String(error) });
    console.log(failures.at(-1).said);
  }
  console.log(`=== ${name}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** Runs a script with its output shown and kept. All of it passes through here: a file that it goes into has one writer, and one end. */
async function run(script, args = []) {
  const command = [projectNode, `${root}/${script}`, ...args];
  const child = spawn('sh', ['-c', 'exec "$@" 2>&1', 'sh', ...command], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write(text);
    output += text;
  });
  const [status] = await once(child, 'close');
  return { ok: status === 0, output };
}

/** Adds what a step says it has counted; a step that counts nothing is one test. */
function count(name, { ok, output }) {
  const last = [...output.matchAll(COUNTS)].at(-1);
  const passed = last === undefined ? Number(ok) : Number(last[1]);
  const failed = last === undefined ? Number(!ok) : Number(last[2]);
  totals.passed += passed;
  totals.failed += !ok && failed === 0 ? 1 : failed;
  if (!ok) failures.push({ name, said: FAILED.exec(output)?.[0] ?? output.split('\n').slice(-LAST_LINES).join('\n') });
}
