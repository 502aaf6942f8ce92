// Commands that list, show and remove: the whole program in a process of its own, against a fake daemon.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { FakeDaemon } from '../../../client/src/testing/fake-daemon.ts';
import { BERTH_VERSION } from '../version.ts';
import { berth, ended, MAIN, PROGRAMS, start, until } from '../testing/berth-process.ts';

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

test('logs of a container that is only made: -f waits for it, without -f the sentence says so', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['create', '--name', 'later', 'busybox', 'quick']);
  const none = await berth(daemon, ['logs', 'later']);
  assert.deepEqual(
    [none.code, none.err],
    [125, 'berth: "later" has no log: it was not started yet; wait for it with: berth logs -f later\n'],
  );
  const following = start(daemon, ['logs', '-f', 'later']);
  const done = ended(following);
  const asked = daemon.calls.length;
  await until(() => daemon.calls.slice(asked).filter((call) => call === 'ContainerStatus').length > 1);
  await berth(daemon, ['start', 'later']);
  assert.deepEqual(await done, { code: 0, signal: null, out: 'hello\nend', err: 'oops\n' });
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

test('stop, rm, start and image rm do all that they can, and tell what they cannot', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  for (const name of ['a', 'b']) await berth(daemon, ['create', '--name', name, 'busybox', 'wait']);
  const nosuch = 'berth: there is no container or pod "nosuch"; see all with: berth ps -a, berth pods\n';
  assert.deepEqual(await berth(daemon, ['start', 'a', 'nosuch', 'b']), {
    code: 125,
    signal: null,
    out: 'a\nb\n',
    err: 'berth: there is no container "nosuch"; see all with: berth ps -a\n',
  });
  const running = await berth(daemon, ['rm', 'a', 'nosuch', 'b']);
  assert.deepEqual(
    [running.code, running.err.split('\n').length, running.err.includes('"b" is running'), daemon.containers.size],
    [125, 4, true, 2],
  );
  const stopped = await berth(daemon, ['stop', 'a', 'nosuch', 'b']);
  assert.deepEqual([stopped.code, stopped.out.split('\n').sort(), stopped.err], [125, ['', 'a', 'b'], nosuch]);
  assert.deepEqual(await berth(daemon, ['rm', 'a', 'nosuch', 'b']), { code: 125, signal: null, out: 'a\nb\n', err: nosuch });
  assert.equal(daemon.containers.size, 0);
  const images = await berth(daemon, ['image', 'rm', 'x', 'docker.io/library/busybox:latest']);
  assert.deepEqual([images.code, images.out, daemon.images.size], [125, 'docker.io/library/busybox:latest\n', 0]);
  const none = await berth(daemon, ['rm', '--socket', join(daemon.dir, 'none.sock'), 'a', 'b']);
  assert.equal(none.err.split('\n').length, 2, none.err);
});

test('rm of the pod of a run takes its log too', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  await berth(daemon, ['run', '-d', '--name', 'a', 'busybox', 'wait']);
  const [pod = ''] = daemon.pods.keys();
  // What it was rotated to, by either of the names that logrotate gives.
  const [folder = ''] = await readdir(join(daemon.dir, 'logs'));
  for (const ending of ['.1', '-20261129']) await writeFile(join(daemon.dir, 'logs', folder, `a.log${ending}`), '');
  assert.equal((await berth(daemon, ['rm', '-f', pod])).code, 0);
  assert.deepEqual([daemon.containers.size, daemon.pods.size], [0, 0]);
  assert.deepEqual(await readdir(join(daemon.dir, 'logs')), []);
});

test('the socket is a path or a unix:// address; a log folder may be relative', async () => {
  await using daemon = await FakeDaemon.start(PROGRAMS);
  for (const socket of [`unix://${daemon.socket}`, `unix:${daemon.socket}`])
    assert.equal((await berth(daemon, ['ps', '--socket', socket])).code, 0, socket);
  for (const socket of ['', 'unix://', 'tcp://localhost:1']) {
    const wrong = await berth(daemon, ['ps', '--socket', socket]);
    assert.deepEqual(
      [wrong.code, wrong.err],
      [125, `berth: --socket "${socket}": give the path of the daemon's socket, or unix://PATH\n`],
    );
  }
  const logs = relative(process.cwd(), join(daemon.dir, 'own'));
  await berth(daemon, ['create', '--name', 'a', '--log-dir', logs, 'busybox', 'wait']);
  assert.ok(daemon.container.logPath.startsWith(join(daemon.dir, 'own', 'a-')), daemon.container.logPath);
});

test('sessions: a table, ids, JSON; kill takes beginnings of ids, says who, and goes on over one that has ended', async () => {
  await using daemon = await FakeDaemon.start();
  const common = { remote: '127.0.0.1:4711', startedAt: BigInt(Date.now() - 90_000) * 1_000_000n };
  daemon.live.push(
    {
      ...common,
      id: 'aa11aa11aa11',
      kind: 'attach',
      containerId: 'c'.repeat(64),
      containerName: 'web',
      protocol: 'v5.channel.k8s.io',
      streams: ['stdin', 'stdout'],
      tty: true,
      bytesIn: 12n,
      bytesOut: 3_400_000n,
      lagBytes: 2_000n,
    },
    { ...common, id: 'bb22bb22bb22', kind: 'exec', containerName: 'db\u001b[2J', streams: ['stdout'], command: 'psql' },
    { ...common, id: 'cc33cc33cc33', kind: 'portforward', podId: 'd'.repeat(64), podName: 'pod', ports: [80, 443] },
  );
  const [headings, web, db, pod] = (await berth(daemon, ['sessions'])).out.split('\n');
  assert.match(headings ?? '', /^SESSION +KIND +TARGET +ID +REMOTE +PROTOCOL +STREAMS +AGE +IN +OUT +LAG$/);
  assert.match(
    web ?? '',
    /^aa11aa11aa11 +attach +web +c{12} +127\.0\.0\.1:4711 +v5\.channel\.k8s\.io +stdin,stdout tty +1m +12 B +3\.4 MB +2\.0 kB$/,
  );
  assert.match(db ?? '', /^bb22bb22bb22 +exec +db\\x1b\[2J .* stdout \(psql\) +1m +0 B +0 B +-$/);
  assert.match(pod ?? '', /^cc33cc33cc33 +portforward +pod +d{12} .* 80,443 /);
  assert.equal((await berth(daemon, ['sessions', '-q'])).out, 'aa11aa11aa11\nbb22bb22bb22\ncc33cc33cc33\n');
  const json = JSON.parse((await berth(daemon, ['sessions', '-o', 'json'])).out) as {
    sessions: { id: string; bytesOut: string }[];
  };
  assert.deepEqual([json.sessions.length, json.sessions[0]?.bytesOut], [3, '3400000']);
  const killed = await berth(daemon, ['sessions', 'kill', 'aa', 'nobody', 'cc33']);
  assert.deepEqual(
    [killed.code, killed.out, killed.err],
    [125, 'aa11aa11aa11\ncc33cc33cc33\n', 'berth: no session has the id "nobody"\n'],
  );
  assert.deepEqual(
    daemon.killed.map(({ id }) => id),
    ['aa11aa11aa11', 'cc33cc33cc33'],
  );
  assert.match(daemon.killed[0]?.by ?? '', /^\S/);
  assert.equal((await berth(daemon, ['sessions', 'kill', 'bb'])).code, 0);
  assert.match((await berth(daemon, ['sessions', 'kill'])).err, /^berth: missing required argument 'session'; /);
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
    'sessions',
    'sessions kill',
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
  for (const command of ['bogus', 'bogus --help', 'exec --help', 'image bogus --help', 'sessions bogus --help']) {
    const wrong = await berth(daemon, command.split(' '));
    assert.deepEqual([wrong.code, wrong.out], [125, ''], command);
    assert.match(wrong.err, /^berth: unknown command '(bogus|exec)'.*; see: berth --help\n$/);
  }
  for (const command of ['--help', 'help', 'help run', 'image --help', 'image help'])
    assert.match((await berth(daemon, command.split(' '))).out, /^Usage: berth/, command);
});

test('ps into a reader that is gone ends without a word', async () => {
  await using daemon = await FakeDaemon.start();
  const child = start(daemon, ['ps']);
  child.stdout?.destroy();
  assert.deepEqual(await ended(child), { code: 141, signal: null, out: '', err: '' });
});
