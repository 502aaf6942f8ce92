// The whole program in a process of its own, against a fake daemon.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, test } from 'node:test';
import { CHANNEL, failureStatus } from '@berth/attach-protocol';
import { FakeDaemon, type FakeProgram } from '../../../client/src/testing/fake-daemon.ts';
import { BERTH_VERSION } from '../version.ts';

const MAIN = new URL('../main.ts', import.meta.url).pathname;
/** Some hundred processes start the same program. */
const COMPILE_CACHE = await mkdtemp(join(tmpdir(), 'berth-cache-'));
after(async () => await rm(COMPILE_CACHE, { recursive: true, force: true }));

/** Programs by the first argument of a container's command. */
const PROGRAMS: Readonly<Record<string, FakeProgram>> = {
  talk: {
    attached: (s) => {
      s.send(CHANNEL.stdout, s.from === 'start' ? 'first\n' : 'late\n');
      s.send(CHANNEL.stderr, 'warning\n');
      setTimeout(() => s.exit(7), 100);
    },
  },
  quick: {
    start: (container, log) => {
      log('stdout P hel');
      log('stderr F oops');
      log('stdout F lo');
      log('stdout P end');
      Object.assign(container, { state: 2, exitCode: 9 });
    },
  },
  cat: {
    message: (s, channel, payload) => {
      if (channel === CHANNEL.stdin) s.send(CHANNEL.stdout, payload);
      if (channel !== CHANNEL.close) return;
      if (s.container.config.stdinOnce) s.exit(0);
      else s.end();
    },
  },
  drop: {
    attached: (s) => {
      s.send(CHANNEL.stdout, 'half a li');
      setTimeout(() => s.socket.terminate(), 100);
    },
  },
  fail: { attached: (s) => s.end(failureStatus('reader fell \x1b[31m too far behind')) },
  yes: {
    attached: (s) => {
      const more = (): void =>
        s.socket.send(Buffer.concat([Buffer.of(CHANNEL.stdout), Buffer.alloc(8192, 'y\n')]), () => setImmediate(more));
      more();
    },
  },
  numbers: {
    attached: (s) => {
      let text = '';
      for (let i = 0; i < 200_000; i += 1) text += `${i}\n`;
      for (let at = 0; at < text.length; at += 30_000) s.send(CHANNEL.stdout, text.slice(at, at + 30_000));
      s.exit(0);
    },
  },
  wait: {},
};

type Done = { readonly code: number | null; readonly signal: string | null; readonly out: string; readonly err: string };

function start(daemon: FakeDaemon, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, ['--conditions=source', MAIN, ...args], {
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      BERTH_SOCKET: daemon.socket,
      BERTH_LOG_DIR: join(daemon.dir, 'logs'),
    },
  });
}

async function ended(child: ChildProcess): Promise<Done> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => (out += String(chunk)));
  child.stderr?.on('data', (chunk) => (err += String(chunk)));
  await once(child, 'close');
  return { code: child.exitCode, signal: child.signalCode, out, err };
}

async function berth(daemon: FakeDaemon, args: readonly string[], input = ''): Promise<Done> {
  const child = start(daemon, args);
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  return await ended(child);
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !what(); i += 1) await sleep(10);
  assert.ok(what(), `never: ${what.toString()}`);
}

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
  assert.match(lost.err, /^berth: the connection ended \(code 1006\) before the session's status came\n$/);
  const failed = await berth(daemon, ['run', 'busybox', 'fail']);
  assert.deepEqual([failed.code, failed.err], [125, 'berth: the session failed: reader fell \\x1b[31m too far behind\n']);
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
  const run = start(daemon, ['run', '--rm', 'busybox', 'wait']);
  await until(() => daemon.sessions.length === 2);
  run.kill('SIGTERM');
  assert.deepEqual(await ended(run), { code: null, signal: 'SIGTERM', out: '', err: '' });
  assert.ok(daemon.calls.includes('StopContainer'));
  assert.equal(daemon.containers.size, 0);
});

test('ps, pods and image ls: tables for people, ids for scripts, JSON for programs', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'on', 'busybox', 'wait']);
  await berth(daemon, ['run', '-d', '--name', 'off', 'busybox', 'quick']);
  const [on = '', off = ''] = [...daemon.containers.keys()];
  assert.equal((await berth(daemon, ['ps', '-q'])).out, `${on}\n`);
  const all = (await berth(daemon, ['ps', '-a'])).out.split('\n');
  assert.match(all[0] ?? '', /^CONTAINER +NAME +IMAGE +STATE +AGE +POD$/);
  assert.ok(all.some((line) => line.startsWith(on.slice(0, 12)) && /\bon\b.*busybox.*running/.test(line)));
  assert.ok(all.some((line) => line.startsWith(off.slice(0, 12)) && /\boff\b.*exited \(9\)/.test(line)));
  const json = JSON.parse((await berth(daemon, ['ps', '-a', '-o', 'json'])).out) as { containers: { id: string; state: string }[] };
  assert.deepEqual(new Set(json.containers.map(({ state }) => state)), new Set(['CONTAINER_RUNNING', 'CONTAINER_EXITED']));
  assert.match((await berth(daemon, ['pods'])).out, /^POD +NAME +NAMESPACE +STATE +CONTAINERS +AGE\n.*ready +1 +/);
  assert.match(
    (await berth(daemon, ['image', 'ls'])).out,
    /^IMAGE +ID +SIZE\ndocker\.io\/library\/busybox:latest +b{12} +4\.2 MB\n$/,
  );
  assert.equal((await berth(daemon, ['ps', '-o', 'xml'])).code, 125);
});

test('inspect of containers and pods', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'it', 'busybox', 'wait']);
  const [pod = ''] = [...daemon.pods.keys()];
  const { code, out } = await berth(daemon, ['inspect', 'it', pod]);
  assert.equal(code, 0);
  const [container, sandbox] = JSON.parse(out) as [
    { status: { id: string; logPath: string }; info: { info: object } },
    { status: { id: string } },
  ];
  assert.equal(container.status.id, daemon.container.id);
  assert.deepEqual(container.info.info, { tty: false, stdinOnce: false });
  assert.equal(sandbox.status.id, pod);
});

test('logs: streams apart, tail, timestamps, follow until the end', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'job', 'busybox', 'quick']);
  assert.deepEqual(await berth(daemon, ['logs', 'job']), { code: 0, signal: null, out: 'hello\nend', err: 'oops\n' });
  assert.equal((await berth(daemon, ['logs', '--tail', '1', 'job'])).out, 'end');
  assert.match((await berth(daemon, ['logs', '--timestamps', 'job'])).out, /^\d{4}-\S+Z hello\n\d{4}-\S+Z end$/);
  assert.equal((await berth(daemon, ['logs', '-f', 'job'])).out, 'hello\nend');
  const wrong = await berth(daemon, ['logs', '--tail', 'x', 'job']);
  assert.deepEqual([wrong.code, wrong.err], [125, 'berth: --tail must be a whole number, not "x"\n']);
});

test('stop and rm: only what is stopped goes, with pod and log, unless forced', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'a', 'busybox', 'wait']);
  const { logPath } = daemon.container;
  const refused = await berth(daemon, ['rm', 'a']);
  assert.deepEqual([refused.code, refused.err], [125, 'berth: "a" is running; stop it with "berth stop a", or use rm -f\n']);
  assert.deepEqual(await berth(daemon, ['stop', '-t', '1', 'a']), { code: 0, signal: null, out: 'a\n', err: '' });
  await writeFile(`${logPath}.20260101`, '');
  assert.equal((await berth(daemon, ['rm', 'a'])).out, 'a\n');
  assert.deepEqual([daemon.containers.size, daemon.pods.size, existsSync(join(logPath, '..'))], [0, 0, false]);
  await berth(daemon, ['run', '-d', '--name', 'b', 'busybox', 'wait']);
  assert.equal((await berth(daemon, ['rm', '-f', 'b', 'nobody'])).code, 0);
  assert.equal(daemon.pods.size, 0);
  const missing = await berth(daemon, ['rm', 'nobody']);
  assert.deepEqual(
    [missing.code, missing.err],
    [125, 'berth: there is no container or pod "nobody"; see all with: berth ps -a, berth pods\n'],
  );
});

test('image import from a file and from a pipe, and rm', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  const file = join(daemon.dir, 'i.tar');
  await writeFile(file, Buffer.alloc(1_000_000));
  const done = await berth(daemon, ['image', 'import', file, '--name', 'a', '--name', 'b:1']);
  assert.deepEqual([done.code, done.out, done.err], [0, `sha256:${'c'.repeat(64)}\na\nb:1\n`, '']);
  assert.equal((await berth(daemon, ['image', 'import', '-'], 'x'.repeat(5000))).code, 0);
  assert.deepEqual(daemon.imported, [
    { names: ['a', 'b:1'], bytes: 1_000_000 },
    { names: [], bytes: 5000 },
  ]);
  assert.match((await berth(daemon, ['image', 'import', '/nope'])).err, /^berth: there is no file \/nope\n$/);
  assert.match((await berth(daemon, ['image', 'import', '/tmp'])).err, /^berth: \/tmp is a directory; /);
  assert.equal((await berth(daemon, ['image', 'rm', 'docker.io/library/busybox:latest'])).code, 0);
  assert.equal(daemon.images.size, 0);
  assert.match((await berth(daemon, ['image', 'rm', 'x'])).err, /^berth: there is no image "x"; /);
});

test('version and info, with the socket option before and after the command', async () => {
  await using daemon = await FakeDaemon.start();
  assert.match((await berth(daemon, ['version'])).out, /client +berth +0\.1\.0.*\ndaemon +fake +9\.9\.9/);
  const env = { ...process.env, BERTH_SOCKET: '/nowhere' };
  for (const args of [
    ['--socket', daemon.socket, 'info', '-o', 'json'],
    ['info', '-o', 'json', '--socket', daemon.socket],
  ]) {
    const done = await ended(spawn(process.execPath, ['--conditions=source', MAIN, ...args], { env }));
    assert.deepEqual((JSON.parse(done.out) as { info: object }).info, { version: { berth: '9.9.9' } });
  }
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  assert.equal(BERTH_VERSION, version);
});

test('without a daemon the sentence says what to do', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-none-'));
  const env = { ...process.env, BERTH_SOCKET: join(dir, 'none.sock') };
  const done = await ended(spawn(process.execPath, ['--conditions=source', MAIN, 'ps'], { env }));
  await rm(dir, { recursive: true });
  assert.deepEqual([done.code, done.out], [125, '']);
  assert.match(done.err, /^berth: the daemon is not running: there is no socket \S+none\.sock; start it with "berthd", .*\n$/);
});

test('help is there for every command, with examples, and does not load gRPC', async () => {
  await using daemon = await FakeDaemon.start();
  for (const command of [
    'run',
    'attach',
    'create',
    'start',
    'ps',
    'pods',
    'inspect',
    'logs',
    'stop',
    'rm',
    'image',
    'image import',
    'image ls',
    'image rm',
    'version',
    'info',
  ]) {
    const { code, out, err } = await berth(daemon, [...command.split(' '), '--help']);
    assert.deepEqual([code, err], [0, ''], command);
    assert.match(out, new RegExp(`^Usage: berth ${command} `));
    assert.match(out, /\nExamples:\n {2}\S/);
  }
  const loaded = spawn(process.execPath, ['--conditions=source', MAIN, '--help'], {
    env: { ...process.env, NODE_DEBUG: 'module,esm' },
  });
  assert.doesNotMatch((await ended(loaded)).err, /grpc-js|protobuf/);
  const wrong = await berth(daemon, ['bogus']);
  assert.deepEqual([wrong.code, wrong.out], [125, '']);
  assert.match(wrong.err, /^berth: unknown command 'bogus'.*; see: berth --help\n$/);
});

test('ps into a reader that is gone ends without a word', async () => {
  await using daemon = await FakeDaemon.start();
  const child = start(daemon, ['ps']);
  child.stdout?.destroy();
  assert.deepEqual(await ended(child), { code: 141, signal: null, out: '', err: '' });
});
