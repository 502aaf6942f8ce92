// Commands that start or attach to containers: the whole program in a process of its own, against a fake daemon.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { CHANNEL } from '@berth/attach-protocol';
import { FakeDaemon } from '../../../client/src/testing/fake-daemon.ts';
import { berth, ended, PROGRAMS, start, until } from '../testing/berth-process.ts';

test("run shows the output from the first byte on, apart by stream, and ends with the container's code", async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const done = await berth(daemon, [
    'run',
    '--name',
    'job',
    '-e',
    'A=1',
    '-w',
    '/w',
    '-v',
    '/tmp:/t:ro',
    'busybox',
    'talk',
    '--',
    '-x',
  ]);
  assert.deepEqual(done, { code: 7, signal: null, out: 'first\n', err: 'warning\n' });
  const { config, logPath } = daemon.container;
  assert.deepEqual(config.args, ['talk', '--', '-x']);
  assert.deepEqual(
    config.envs.map(({ key, value }) => [key, Buffer.from(value).toString()]),
    [['A', '1']],
  );
  assert.deepEqual([config.workingDir, config.stdin, config.tty, config.mounts[0]?.readonly], ['/w', false, false, true]);
  assert.match(logPath, /\/logs\/job-[0-9a-f]{8}\/job\.log$/);
});

test('run of a container that has ended before the attach gives its whole log and its code', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  assert.deepEqual(await berth(daemon, ['run', 'busybox', 'quick']), { code: 9, signal: null, out: 'hello\nend', err: 'oops\n' });
});

test('run --rm leaves no container, pod or log behind', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  for (const [program, code] of [
    ['talk', 7],
    ['quick', 9],
  ] as const) {
    assert.equal((await berth(daemon, ['run', '--rm', 'busybox', program])).code, code);
    assert.deepEqual([daemon.containers.size, daemon.pods.size], [0, 0]);
    assert.deepEqual(await readdir(join(daemon.dir, 'logs')), []);
  }
});

test('run -i passes a pipe on and ends when the container has', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const input = Array.from({ length: 50_000 }, (_, i) => `line ${i}\n`).join('');
  const done = await berth(daemon, ['run', '-i', '--rm', 'busybox', 'cat'], input);
  assert.equal(done.err, '');
  assert.equal(done.code, 0);
  assert.ok(done.out === input, `${done.out.length} of ${input.length} bytes came back`);
});

test('run -d prints the id alone', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const done = await berth(daemon, ['run', '-d', '-i', 'busybox', 'cat']);
  assert.deepEqual(done, { code: 0, signal: null, out: `${daemon.container.id}\n`, err: '' });
  assert.deepEqual([daemon.container.state, daemon.container.config.stdin, daemon.container.config.stdinOnce], [1, true, false]);
});

test('a log folder where the kernel keeps its own is refused', { timeout: 60_000 }, async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const link = join(daemon.dir, 'link');
  await symlink('/proc', link);
  for (const dir of ['/proc/x', '/proc', '/tmp/../sys/x', link, `${link}/x/y`]) {
    const done = await berth(daemon, ['run', '--log-dir', dir, 'busybox', 'talk']);
    assert.deepEqual([done.code, done.err], [125, `berth: no log can be kept in ${dir}; choose another --log-dir\n`]);
  }
  assert.deepEqual(
    daemon.calls.filter((call) => call === 'RunPodSandbox'),
    [],
  );
});

test('a TLS file that cannot be read is told before anything is made', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const done = await berth(daemon, ['run', '--tls-ca', '/nowhere/ca.pem', 'busybox', 'talk']);
  assert.equal(done.code, 125);
  assert.match(done.err, /^berth: --tls-ca: \/nowhere\/ca\.pem cannot be read: ENOENT/);
  assert.deepEqual(daemon.calls, []);
});

test('a failed run says why in one sentence and leaves nothing behind', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const image = await berth(daemon, ['run', 'missing', 'talk']);
  assert.deepEqual(image, { code: 125, signal: null, out: '', err: 'berth: the image "missing" is not there\n' });
  const command = await berth(daemon, ['run', 'busybox', 'nothere']);
  assert.deepEqual(command, { code: 127, signal: null, out: '', err: 'berth: nothere: not found in the container\n' });
  assert.deepEqual([daemon.containers.size, daemon.pods.size], [0, 0]);
  assert.deepEqual(await readdir(join(daemon.dir, 'logs')), []);
});

test('a taken name is refused, and what it belongs to stays', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['create', '--name', 'web', 'busybox', 'wait']);
  const second = await berth(daemon, ['run', '--name', 'web', 'busybox', 'talk']);
  assert.equal(second.code, 125);
  assert.match(second.err, /^berth: the name "web" is taken; .*berth rm web.*\n$/);
  assert.equal(daemon.containers.size, 1);
});

test('create, start -a', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const made = await berth(daemon, ['create', '--name', 'job', 'busybox', 'talk']);
  assert.equal(made.out, `${daemon.container.id}\n`);
  assert.deepEqual(await berth(daemon, ['start', '-a', 'job']), { code: 7, signal: null, out: 'first\n', err: 'warning\n' });
  const again = await berth(daemon, ['start', 'job']);
  assert.equal(again.code, 125);
  assert.match(again.err, /containers start only once/);
});

test("attach shows what comes and ends with the container's code; --from start asks for all", async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'job', 'busybox', 'talk']);
  assert.deepEqual(await berth(daemon, ['attach', 'job']), { code: 7, signal: null, out: 'late\n', err: 'warning\n' });
  const over = await berth(daemon, ['attach', 'job']);
  assert.deepEqual(
    [over.code, over.err],
    [125, 'berth: "job" is not running but exited; see what it wrote with: berth logs job\n'],
  );
});

test('attach reads a pipe, prints the answer and leaves the container running', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '-i', '--name', 'console', 'busybox', 'cat']);
  const { id } = daemon.container;
  assert.deepEqual(await berth(daemon, ['attach', id.slice(0, 6)], 'a\n'), { code: 0, signal: null, out: 'a\n', err: '' });
  assert.equal(daemon.container.state, 1);
  assert.deepEqual(daemon.received, [
    { channel: CHANNEL.stdin, text: 'a\n' },
    { channel: CHANNEL.close, text: '\0' },
  ]);
});

test('a lost connection and a failed session are never a success', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const lost = await berth(daemon, ['run', 'busybox', 'drop']);
  assert.deepEqual([lost.code, lost.out], [125, 'half a li']);
  assert.match(lost.err, /^berth: the connection ended \(code 1006\) before the session's status came; .*berth ps -a\n$/);
  const failed = await berth(daemon, ['run', 'busybox', 'fail']);
  assert.deepEqual([failed.code, failed.err], [125, 'berth: the session failed: reader fell \\x1b[31m too far behind\n']);
});

test('what came before a failure is written also to a slow reader, before it is said', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const child = start(daemon, ['run', 'busybox', 'fallBehind']);
  child.stdin?.end();
  await sleep(1500);
  assert.equal(child.exitCode, null, 'it waits for its reader');
  const done = await ended(child);
  assert.deepEqual([done.code, done.out.length, done.err], [125, 200_000, 'berth: the session failed: too far behind\n']);
});

test('the end of the input ends an attach at once: the state is not asked for over and over, and an exit at that moment is seen', async () => {
  await using daemon = await FakeDaemon.start({
    ...PROGRAMS,
    exit: { message: (s, channel) => (channel === CHANNEL.close ? s.exit(3) : undefined) },
  });
  daemon.makeRunning({ args: ['cat'], stdin: true, metadata: { name: 'console' } });
  daemon.makeRunning({ args: ['exit'], stdin: true, metadata: { name: 'shell' } });
  assert.equal((await berth(daemon, ['attach', 'console'], 'a\n')).code, 0);
  const asked = daemon.calls.filter((call) => call === 'ContainerStatus').length;
  assert.ok(asked <= 10, `asked ${asked} times`);
  assert.equal((await berth(daemon, ['attach', 'shell'], 'exit 3\n')).code, 3);
});

test('a slow reader of the output gets all of it', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const child = start(daemon, ['run', '--rm', 'busybox', 'numbers']);
  child.stdin?.end();
  await sleep(1500);
  const done = await ended(child);
  assert.equal(done.code, 0);
  assert.equal(done.out.split('\n').length, 200_001);
  assert.ok(done.out.endsWith('199999\n'));
});

test('a reader that goes ends the session without a word, and the container of a run', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const child = start(daemon, ['run', 'busybox', 'yes']);
  const stdout = child.stdout;
  assert.ok(stdout);
  await once(stdout, 'data');
  stdout.destroy();
  const done = await ended(child);
  assert.deepEqual([done.code, done.err], [141, '']);
  assert.equal(daemon.container.state, 2);
});

test('a signal ends attach and leaves the container; it ends a run and its container', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'it', 'busybox', 'wait']);
  const attached = start(daemon, ['attach', 'it']);
  await until(() => daemon.sessions.length === 1);
  attached.kill('SIGINT');
  assert.deepEqual(await ended(attached), { code: null, signal: 'SIGINT', out: '', err: '' });
  assert.equal(daemon.container.state, 1);
  daemon.containers.clear();
  daemon.pods.clear();
  const run = start(daemon, ['run', '--rm', 'busybox', 'words']);
  await until(() => daemon.sessions.length === 2);
  run.kill('SIGTERM');
  assert.deepEqual(await ended(run), { code: null, signal: 'SIGTERM', out: 'up\ngot it\n', err: '' });
  assert.ok(daemon.calls.includes('StopContainer'));
  assert.equal(daemon.containers.size, 0);
});

const REMAINS = /^berth: the container remains; remove it later with: berth rm -f job$/m;

test('a signal to run stops the container, and its last words are shown; a second one says what --rm leaves', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const run = start(daemon, ['run', '--rm', '--name', 'job', 'busybox', 'words']);
  const stdout = run.stdout;
  assert.ok(stdout);
  const done = ended(run);
  await once(stdout, 'data');
  run.kill('SIGTERM');
  assert.deepEqual(await done, { code: null, signal: 'SIGTERM', out: 'up\ngot it\n', err: '' });
  assert.equal(daemon.containers.size, 0);
  const stuck = start(daemon, ['run', '--rm', '--name', 'job', 'busybox', 'wait']);
  await until(() => daemon.sessions.length === 2);
  stuck.kill('SIGINT');
  await until(() => daemon.container.state === 2);
  stuck.kill('SIGINT');
  const { code, err } = await ended(stuck);
  assert.equal(code, 130);
  assert.match(err, REMAINS);
  assert.equal(daemon.containers.size, 1);
});

test('run --rm on a full disk stops and removes the container', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  for (const program of ['yes', 'quick']) {
    const full = openSync('/dev/full', 'w');
    const done = await ended(start(daemon, ['run', '--rm', 'busybox', program], ['ignore', full, 'pipe']));
    closeSync(full);
    assert.equal(done.code, 125);
    assert.match(done.err, /^berth: the output cannot be written: ENOSPC: .*$/m);
    assert.doesNotMatch(done.err, REMAINS);
    assert.deepEqual([daemon.containers.size, daemon.pods.size], [0, 0]);
    assert.deepEqual(await readdir(join(daemon.dir, 'logs')), []);
  }
});

test('run --rm whose session fails: what has exited goes, and what may run is named', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const over = await berth(daemon, ['run', '--rm', '--name', 'job', 'busybox', 'broken']);
  assert.deepEqual([over.code, over.err], [125, 'berth: the session failed: the supervisor is gone\n']);
  assert.deepEqual([daemon.containers.size, daemon.pods.size], [0, 0]);
  for (const program of ['fail', 'drop']) {
    const failed = await berth(daemon, ['run', '--rm', '--name', 'job', 'busybox', program]);
    assert.equal(failed.code, 125);
    assert.match(failed.err, REMAINS);
    assert.match(failed.err, /^berth: the (session failed|connection ended)/m);
    assert.equal(daemon.container.state, 1);
    await berth(daemon, ['rm', '-f', 'job']);
  }
  const none = await berth(daemon, ['run', '--rm', '--name', 'job', 'busybox', 'unreachable']);
  assert.equal(none.code, 125);
  assert.match(none.err, REMAINS);
});
