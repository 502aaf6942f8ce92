/** The real `berth` against the real daemon and real containers: what a person does in the first five minutes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BERTH, berth, berthAtTerminal, berthStarted, shellAtTerminal } from '../src/berth.ts';
import { collect } from '../src/crictl.ts';
import { TestDaemon } from '../src/daemon.ts';
import { eventually } from '../src/processes.ts';
import { randomBlocks } from '../src/random.ts';

const MIB = 1024 * 1024;
const IMAGE = 'berth.local/busybox';

let daemon: TestDaemon;

before(async () => {
  daemon = await TestDaemon.start();
  mkdirSync(daemon.logs);
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

/** Runs a command that must succeed; gives what it printed. */
async function ok(args: readonly string[], input?: string | Uint8Array): Promise<string> {
  const { code, stdout, stderr } = await berth(daemon, args, input);
  assert.deepEqual([code, stderr], [0, ''], `berth ${args.join(' ')}: ${stderr}`);
  return stdout;
}

test('run: every first byte, both streams, the exit code; --rm leaves nothing', async () => {
  for (let run = 0; run < 10; run += 1) {
    const { code, stdout, stderr } = await berth(daemon, ['run', '--rm', IMAGE, 'sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual([code, stdout, stderr], [7, 'out\n', 'err\n']);
  }
  assert.equal(await ok(['ps', '-a', '-q']), '');
  assert.deepEqual(readdirSync(daemon.logs), []);
  const missing = await berth(daemon, ['run', '--rm', IMAGE, 'not-there']);
  assert.equal(missing.code, 127);
  assert.match(missing.stderr, /^berth: .*not-there/);
});

test('run -i: all byte values through a pipe and back, and the end of the pipe is the end of the container', async () => {
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
  const { code, stdout, stderr } = await berth(daemon, ['run', '-i', '--rm', IMAGE, 'sha256sum'], bytes);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(stdout.slice(0, 64), createHash('sha256').update(bytes).digest('hex'));
});

test('run -i into a program that reads slowly: every byte, and no word of the machinery on stderr', async () => {
  const bytes = Buffer.concat([...randomBlocks(24 * MIB, 21)]);
  const slow = 'for i in $(seq 40); do dd bs=65536 count=8 2>/dev/null; sleep 0.05; done; cat';
  const { code, stdout, stderr } = await berth(daemon, ['run', '-i', '--rm', IMAGE, 'sh', '-c', `{ ${slow}; } | sha256sum`], bytes);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(stdout.slice(0, 64), createHash('sha256').update(bytes).digest('hex'));
});

test('a console: run -d, attach by pipe, logs, ps, inspect, stop, rm', async () => {
  const script = 'trap "echo bye; exit 3" TERM; echo up; while read -r line; do echo "got $line"; done; sleep 1000';
  const id = (await ok(['run', '-d', '-i', '--name', 'console', IMAGE, 'sh', '-c', script])).trim();
  // Who attaches before it has said so gets that too.
  await eventually('it is up', async () => (await ok(['logs', 'console'])) === 'up\n');
  assert.equal(await ok(['attach', 'console'], 'list\n'), 'got list\n');
  assert.equal(await ok(['attach', id.slice(0, 10)], 'again\n'), 'got again\n');
  assert.equal(await ok(['logs', 'console']), 'up\ngot list\ngot again\n');
  assert.equal(await ok(['logs', '--tail', '1', 'console']), 'got again\n');
  assert.match(await ok(['ps']), new RegExp(`^${id.slice(0, 12)} .*console .*running`, 'm'));
  const [inspected] = JSON.parse(await ok(['inspect', 'console'])) as { status: { id: string; state: string } }[];
  assert.deepEqual([inspected?.status.id, inspected?.status.state], [id, 'CONTAINER_RUNNING']);
  await ok(['stop', 'console']);
  assert.equal(await ok(['ps', '-q']), '');
  assert.match(await ok(['ps', '-a']), /console .*exited \(3\)/);
  assert.equal(await ok(['logs', 'console']), 'up\ngot list\ngot again\nbye\n');
  const refused = await berth(daemon, ['attach', 'console']);
  assert.equal(refused.code, 125);
  assert.match(refused.stderr, /^berth: .*not running/);
  await ok(['rm', 'console']);
  assert.equal(await ok(['ps', '-a', '-q']), '');
  assert.equal(await ok(['pods', '-q']), '');
});

test('an input that ends the container: its exit code, not the end of the input', async () => {
  for (let run = 0; run < 5; run += 1) {
    await ok(['run', '-d', '-i', '--name', 'once', IMAGE, 'sh']);
    const { code, stdout } = await berth(daemon, ['attach', 'once'], 'echo bye; exit 3\n');
    assert.deepEqual([code, stdout], [3, 'bye\n']);
    await ok(['rm', 'once']);
  }
});

test('a signal to run --rm: the last words are shown, nothing is left', async () => {
  const script = 'trap "echo got it; exit 3" TERM; echo up; while :; do sleep 0.1; done';
  const child = berthStarted(daemon, ['run', '--rm', IMAGE, 'sh', '-c', script]);
  const done = collect(child);
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  assert.equal((await done).stdout, 'up\ngot it\n');
  assert.equal(await ok(['ps', '-a', '-q']), '');
});

test('run --rm whose session is killed, or whose daemon: the line says what remains', async () => {
  for (const end of [
    async () => void (await ok(['sessions', 'kill', (await ok(['sessions', '-q'])).trim()])),
    async () => await daemon.kill(),
  ]) {
    const done = berth(daemon, ['run', '--rm', '--name', 'loop', IMAGE, 'sh', '-c', 'while :; do sleep 1; done']);
    await eventually('a session', async () => (await daemon.client.sessions.list({})).sessions.length > 0);
    await end();
    const { code, stderr } = await done;
    assert.equal(code, 125);
    assert.match(stderr, /^berth: the container remains; remove it later with: berth rm -f loop$/m);
    if ((await berth(daemon, ['ps'])).code !== 0) await daemon.start();
    await ok(['rm', '-f', 'loop']);
  }
});

test('logs -f: nothing is lost over rotations behind a slow reader, nor over a daemon that is killed and comes back', async () => {
  const lines = 3000;
  const script = `echo begun; read go; for i in $(seq ${lines}); do echo "line $i"; [ $((i % 100)) = 0 ] && sleep 0.1; done; read end`;
  const id = (await ok(['run', '-d', '-i', '--name', 'rot', IMAGE, 'sh', '-c', script])).trim();
  const following = berthStarted(daemon, ['logs', '-f', 'rot']);
  // One that comes later than the first rotation begins behind it.
  await once(following.stdout, 'readable');
  await ok(['attach', 'rot'], 'go\n');
  const { status } = await daemon.client.runtime.containerStatus({ containerId: id });
  const logPath = status?.logPath ?? '';
  for (let n = 0; n < 5; n += 1) {
    renameSync(logPath, `${logPath}.${n}`);
    await daemon.client.runtime.reopenContainerLog({ containerId: id });
  }
  await sleep(2000);
  const done = collect(following);
  let said = '';
  following.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await daemon.kill();
  await eventually('it says so', () => said !== '');
  await daemon.start();
  await ok(['attach', 'rot'], 'end\n');
  const { code, stdout, stderr } = await done;
  assert.deepEqual([code, stderr], [0, 'berth: the daemon does not answer; container and log go on without it\n']);
  assert.equal(stdout, `begun\n${Array.from({ length: lines }, (_, i) => `line ${i + 1}\n`).join('')}`);
  await ok(['rm', 'rot']);
});

test('create, start -a: nothing is missed', async () => {
  await ok(['create', '--name', 'made', IMAGE, 'sh', '-c', 'echo first; exit 4']);
  const { code, stdout } = await berth(daemon, ['start', '-a', 'made']);
  assert.deepEqual([code, stdout], [4, 'first\n']);
  await ok(['rm', 'made']);
});

test('run -it at a terminal: the shell is process 1, ctrl-p ctrl-q leaves it, attach finds it again', async () => {
  const first = berthAtTerminal(daemon, ['run', '-i', '-t', '--name', 'shell', IMAGE, 'sh']);
  let text = '';
  first.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const left = collect(first);
  await eventually('a prompt', () => text.includes('/ # '));
  first.stdin?.write('marker=kept; echo "pid $$"\n');
  await eventually('an answer', () => text.includes('pid 1\r\n'));
  first.stdin?.write('\x10\x11');
  assert.equal((await left).code, 0, text);

  const second = berthAtTerminal(daemon, ['attach', 'shell']);
  let more = '';
  second.stdout?.on('data', (chunk: Buffer) => (more += chunk.toString()));
  const ended = collect(second);
  second.stdin?.write('echo "marker is $marker"; exit 5\n');
  await eventually('the same shell', () => more.includes('marker is kept\r\n'));
  assert.equal((await ended).code, 5, more);
  await ok(['rm', 'shell']);
});

test('run -it: the first program finds the terminal as large as the window', async () => {
  const run = `stty rows 25 cols 77; ${BERTH} run -i -t --rm ${IMAGE} stty size`;
  // Some of them have ended before anybody could attach: their log is shown then.
  for (let i = 0; i < 10; i += 1) {
    const child = shellAtTerminal(daemon, run);
    const { code, stdout } = await collect(child);
    assert.deepEqual([code, stdout], [0, '25 77\r\n']);
  }
});

test('image import, ls, rm: a root file system with several names, and it runs', async () => {
  const layer = join(daemon.dir, 'layer');
  mkdirSync(join(layer, 'bin'), { recursive: true });
  execFileSync('cp', ['/bin/busybox', join(layer, 'bin/sh')]);
  writeFileSync(join(layer, 'hello'), 'from the image\n');
  execFileSync('tar', ['-C', layer, '-cf', join(daemon.dir, 'layer.tar'), '.']);
  await ok(['image', 'import', join(daemon.dir, 'layer.tar'), '--name', 'own:1', '--name', 'own:two']);
  const images = await ok(['image', 'ls']);
  assert.match(images, /own:1 /);
  assert.match(images, /own:two /);
  assert.equal(
    await ok(['run', '--rm', 'own:two', 'sh', '-c', 'while read -r line; do echo "$line"; done < /hello']),
    'from the image\n',
  );
  await ok(['image', 'rm', 'own:1']);
  await ok(['image', 'rm', 'own:two']);
  assert.doesNotMatch(await ok(['image', 'ls']), /own/);
});

test('a container that nobody is attached to costs the daemon nothing, however much it writes', async () => {
  await ok(['run', '-d', '--name', 'chatty', IMAGE, 'sh', '-c', 'while :; do echo a line of some length; done']);
  /** Of 300; timers take a few. */
  const usedInThreeSeconds = async (): Promise<number> => {
    const began = daemonTicks();
    await sleep(3000);
    return daemonTicks() - began;
  };
  const used: number[] = [];
  // Once it has come to rest the daemon collects what the tests before this one have left, in one of these.
  do used.push(await usedInThreeSeconds());
  while (used.length < 3 && (used.at(-1) ?? 0) > 10);
  await ok(['rm', '-f', 'chatty']);
  assert.ok((used.at(-1) ?? 0) <= 10, `the daemon has used ${used.join(', ')} hundredths of a second of processor in 3 s each`);
});

/** User and system time of the daemon, hundredths of a second. */
function daemonTicks(): number {
  const stat = readFileSync(`/proc/${daemon.pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
