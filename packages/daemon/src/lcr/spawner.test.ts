/** Programs that the helper starts: the same as those that the daemon forks itself, and what becomes of them when helper or daemon ends. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BerthError } from '../util/errors.ts';
import { must, run } from './spawn.ts';
import { Spawner } from './spawner.ts';

const SHIM = process.env['BERTH_SHIM'] ?? fileURLToPath(new URL('../../../../shim/build/berth-shim', import.meta.url));

/** Processes of this test that match. */
const processes = (text: string): number[] =>
  execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , ...args]) => args.join(' ') === text)
    .map(([pid]) => Number(pid));

const helpers = (): number[] =>
  execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(`${SHIM} spawn`))
    .map((line) => Number.parseInt(line, 10));

function spawnerFor(t: TestContext): Spawner {
  const spawner = new Spawner(SHIM);
  t.after(() => spawner.close());
  return spawner;
}

const failure = (text: RegExp) => (error: unknown) => error instanceof BerthError && text.test(error.message);

test('the same answers as by a fork of the daemon', async (t) => {
  const spawner = spawnerFor(t);
  for (const by of [run, spawner.run]) {
    const script = 'cat; printf "\\303\\251\\n"; echo err >&2; env | grep -c .; exit 7';
    const done = await by('sh', ['-c', script], { input: Buffer.from('input \u00e9\n') });
    // PATH, and what a shell adds.
    assert.match(done.stdout, /^input \u00e9\n\u00e9\n[1-4]\n$/);
    assert.deepEqual([done.stderr, done.status], ['err\n', 7]);
    const loud = await by('sh', ['-c', 'head -c 100000 /dev/zero | tr "\\000" x; head -c 100000 /dev/zero >&2']);
    assert.equal(loud.status, 0);
    for (const text of [loud.stdout, loud.stderr]) assert.ok(text.length >= 16_384 && text.length < 100_000, `${text.length}`);
    await assert.rejects(by('/no/such/program', []), failure(/cannot run \/no\/such\/program/));
    await assert.rejects(
      must('sh', ['-c', 'echo first >&2; echo last words >&2; exit 3'], {}, by),
      failure(/status 3: last words$/),
    );
    await assert.rejects(by('sleep', ['31'], { timeoutMs: 100 }), failure(/sleep 31 did not end within 0\.1 s/));
    await assert.doesNotReject(must('true', [], {}, by));
  }
  for (let i = 0; i < 100 && processes('sleep 31').length > 0; i += 1) await sleep(20);
  assert.deepEqual(processes('sleep 31'), []);
  assert.equal(helpers().length, 1);
});

test('the first line is the answer, and the program stays', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-spawner-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const spawner = spawnerFor(t);
  const script = `printf begin; sleep 0.1; echo ' of it'; until [ -e ${dir}/go ]; do sleep 0.01; done; : >${dir}/gone`;
  for (const by of [run, spawner.run]) {
    const done = await by('sh', ['-c', script], { firstLine: true });
    assert.deepEqual([done.stdout, done.status, existsSync(`${dir}/gone`)], ['begin of it\n', 0, false]);
    await must('touch', [`${dir}/go`]);
    for (let i = 0; i < 500 && !existsSync(`${dir}/gone`); i += 1) await sleep(10);
    assert.ok(existsSync(`${dir}/gone`));
    rmSync(`${dir}/go`);
    rmSync(`${dir}/gone`);
    // One that ends without a line has a status.
    assert.equal((await by('sh', ['-c', 'exit 4'], { firstLine: true })).status, 4);
  }
});

test('more programs than the helper takes at once, and those that stay take no room', async (t) => {
  const spawner = spawnerFor(t);
  const stay = Array.from({ length: 150 }, () => spawner.run('sh', ['-c', 'echo stays; exec sleep 33'], { firstLine: true }));
  assert.ok((await Promise.all(stay)).every(({ stdout }) => stdout === 'stays\n'));
  const all = await Promise.all(Array.from({ length: 400 }, (_each, i) => spawner.run('sh', ['-c', `echo ${i}; exit ${i % 200}`])));
  assert.deepEqual(
    all.map(({ stdout, status }) => [stdout, status]),
    all.map((_each, i) => [`${i}\n`, i % 200]),
  );
  const left = processes('sleep 33');
  assert.equal(left.length, 150);
  for (const pid of left) process.kill(pid, 'SIGKILL');
});

test('a helper that is killed: what it runs ends with it and its calls fail; what it has not taken is run by another one', async (t) => {
  const spawner = spawnerFor(t);
  await spawner.run('true', []);
  const [pid = 0] = helpers();
  const underWay = Array.from({ length: 128 }, () => spawner.run('sleep', ['32']));
  while (processes('sleep 32').length < 128) await sleep(10);
  const queued = Array.from({ length: 70 }, (_each, i) => spawner.run('sh', ['-c', `echo ${i}`]));
  process.kill(pid, 'SIGKILL');
  for (const outcome of await Promise.allSettled(underWay)) {
    assert.equal(outcome.status, 'rejected');
    assert.match(String(outcome.reason), /the helper that starts programs has ended with SIGKILL/);
  }
  assert.deepEqual(processes('sleep 32'), []);
  assert.deepEqual(
    (await Promise.all(queued)).map(({ stdout }) => stdout),
    queued.map((_each, i) => `${i}\n`),
  );
  assert.notDeepEqual(helpers(), [pid]);
});

test('a call fails once the last process of its program has ended', async (t) => {
  const spawner = spawnerFor(t);
  const script = 'sleep 0.7 >/dev/null 2>&1 & exec sleep 36';
  const failing = assert.rejects(spawner.run('sh', ['-c', script]), failure(/has ended with SIGKILL/));
  while (processes('sleep 36').length === 0) await sleep(10);
  assert.equal(processes('sleep 0.7').length, 1);
  for (const pid of helpers()) process.kill(pid, 'SIGKILL');
  await failing;
  assert.deepEqual([processes('sleep 0.7'), processes('sleep 36')], [[], []]);
});

test('a helper that dies while nobody needs it costs nobody anything, whether that has been noticed or not', async (t) => {
  const spawner = spawnerFor(t);
  const dir = mkdtempSync(join(tmpdir(), 'berth-spawner-'));
  t.after(() => rmSync(dir, { recursive: true }));
  for (let round = 0; round < 20; round += 1) {
    await spawner.run('true', []);
    const [pid = 0] = helpers();
    process.kill(pid, 'SIGKILL');
    if (round % 3 === 0) execFileSync('sleep', ['0.05']);
    if (round % 3 === 1) await sleep(50);
    // Never twice.
    await must('mkdir', [`${dir}/${round}`], {}, spawner.run);
  }
  // One that is killed again and again does not keep a call for ever.
  const stop = new AbortController();
  const killing = (async () => {
    while (!stop.signal.aborted) {
      for (const pid of helpers()) process.kill(pid, 'SIGKILL');
      await sleep(1);
    }
  })();
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => spawner.run('sleep', ['0.3'])));
  stop.abort();
  await killing;
  for (const outcome of outcomes)
    assert.ok(outcome.status === 'fulfilled' || failure(/the helper that starts programs/)(outcome.reason));
  assert.equal((await spawner.run('sh', ['-c', 'exit 8'])).status, 8);
});

test('one that answers what is no answer is killed, and said', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-spawner-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const taken = '\\000\\000\\000\\000\\001\\000\\000\\000\\005\\000\\000\\000';
  for (const [i, wrong] of [
    '\\377\\377\\377\\377\\001\\000\\000\\000\\001\\000\\000\\000',
    taken.replace('005', '006'),
    taken.replace('005', '003'),
  ].entries()) {
    const shim = join(dir, `shim-${i}`);
    writeFileSync(shim, `#!/bin/sh\nprintf '${taken}${wrong}'\nexec sleep 37\n`, { mode: 0o755 });
    await assert.rejects(new Spawner(shim).run('true', []), failure(/the helper that starts programs speaks another language/));
  }
  assert.deepEqual(processes('sleep 37'), []);
});

test('what the helper would not take is refused alone, and its neighbours are served', async (t) => {
  const spawner = spawnerFor(t);
  const beside = spawner.run('sh', ['-c', 'sleep 0.3; echo beside']);
  const words = (count: number): string[] => Array.from({ length: count }, () => 'x');
  for (const [program, args, input] of [
    ['true', words(1_024)],
    ['true', ['x'.repeat(9 * 1024 * 1024)]],
    ['true', [], Buffer.alloc(9 * 1024 * 1024)],
    ['echo', ['a\0b']],
    ['', []],
  ] as const) {
    await assert.rejects(spawner.run(program, args, input === undefined ? {} : { input }), failure(/cannot be run: /));
  }
  // Two words for each of the 256 sysctls that a pod may have.
  assert.equal((await spawner.run('true', words(600))).status, 0);
  assert.equal((await spawner.run('wc', ['-c'], { input: Buffer.alloc(8 * 1024 * 1024) })).stdout, '8388608\n');
  assert.equal((await beside).stdout, 'beside\n');
  assert.equal(helpers().length, 1);
});

test('the time of a program begins when it does: 128 that hang end in theirs, and the next one has all of its own', async (t) => {
  const spawner = spawnerFor(t);
  const hung = Array.from({ length: 128 }, () => spawner.run('sleep', ['35'], { timeoutMs: 500 }));
  const next = spawner.run('sh', ['-c', 'sleep 0.2; echo late'], { timeoutMs: 400 });
  for (const outcome of await Promise.allSettled(hung)) assert.equal(outcome.status, 'rejected');
  assert.equal((await next).stdout, 'late\n');
});

test('one that cannot be started is said', async () => {
  const spawner = new Spawner('/no/such/shim');
  await assert.rejects(spawner.run('true', []), failure(/the helper that starts programs cannot be started: .*ENOENT/));
});

test('closing ends the helper behind the calls under way; a process that has nothing else to do ends with it', async () => {
  const spawner = new Spawner(SHIM);
  await spawner.run('true', []);
  const waiting = spawner.run('sh', ['-c', 'sleep 0.5; exit 9']);
  spawner.close();
  assert.equal((await waiting).status, 9);
  for (let i = 0; i < 100 && helpers().length > 0; i += 1) await sleep(20);
  assert.deepEqual(helpers(), []);
  // What is cleaned up behind that is.
  assert.equal((await spawner.run('sh', ['-c', 'exit 6'])).status, 6);
  assert.deepEqual(helpers(), []);

  const program = `import { Spawner } from ${JSON.stringify(new URL('spawner.ts', import.meta.url).href)};
    const { stdout } = await new Spawner(${JSON.stringify(SHIM)}).run('echo', ['done']);
    process.stdout.write(stdout);`;
  const args = ['--conditions=source', '--input-type=module', '-e', program];
  const { stdout, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000 });
  assert.deepEqual([stdout, status], ['done\n', 0]);
});
