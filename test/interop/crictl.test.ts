/** The real crictl drives the daemon: pods, containers, attach over WebSocket in each of its forms. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { crictl, crictlAtTerminal } from '../src/crictl.ts';
import { sessionsBegun, TestDaemon } from '../src/daemon.ts';
import { IMAGE } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

let daemon: TestDaemon;
let podFile: string;
let podId: string;
/** Where the pod's logs are. */
let logs: string;

before(async () => {
  daemon = await TestDaemon.start();
  logs = join(daemon.logs, 'crictl');
  mkdirSync(logs, { recursive: true });
  const pod = {
    metadata: { name: 'pod', namespace: 'crictl', uid: 'u1', attempt: 0 },
    log_directory: logs,
    linux: { security_context: { namespace_options: { network: 2, pid: 1 } } },
  };
  podFile = file('pod.json', pod);
  podId = await ok(['runp', podFile]);
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

function file(name: string, content: object): string {
  const path = join(daemon.dir, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

/** Runs a command that must succeed; gives what it printed. */
async function ok(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await crictl(daemon, args, input);
  assert.equal(code, 0, `crictl ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** A running container of a shell command line. */
async function run(name: string, script: string, more: object): Promise<string> {
  const config = {
    metadata: { name },
    image: { image: IMAGE },
    command: ['sh', '-c', script],
    log_path: `${name}.log`,
    linux: {},
    ...more,
  };
  const id = await ok(['create', podId, file(`${name}.json`, config), podFile]);
  assert.equal(await ok(['start', id]), id);
  return id;
}

test('version, info, images, pods', async () => {
  assert.match(await ok(['version']), /RuntimeName:\s+berth/);
  assert.match(await ok(['info']), /RuntimeReady/);
  assert.match(await ok(['images']), /berth\.local\/busybox/);
  assert.match(await ok(['pods']), new RegExp(podId.slice(0, 13)));
});

test('attach -i: a pipe goes in, the answer comes out', async () => {
  const id = await run('pipe', 'while read -r line; do echo "got $line"; done; echo over', { stdin: true, stdin_once: true });
  const { code, stdout, stderr } = await crictl(daemon, ['attach', '-r', 'websocket', '-i', id], 'one\ntwo\n');
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'got one\ngot two\nover\n');
  assert.match(await ok(['inspect', id]), /CONTAINER_EXITED/);
});

test('attach alone: output until the end', async () => {
  const id = await run('output', 'while [ ! -e /tmp/go ]; do sleep 0.1; done; echo out; echo err >&2', {});
  const attached = crictl(daemon, ['attach', '-r', 'websocket', id]);
  await sessionsBegun(daemon, id, 1);
  await ok(['exec', '-s', id, 'touch', '/tmp/go']);
  const { code, stdout, stderr } = await attached;
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'out\n');
  assert.match(stderr, /err/);
});

test('attach -it: a terminal', async () => {
  const id = await run('terminal', 'PS1="}} " exec sh', { stdin: true, tty: true });
  await using screen = crictlAtTerminal(daemon, ['attach', '-r', 'websocket', '-i', '-t', id]);
  await screen.prompt(/}} (\x1b\[6n)?$/);
  screen.type('tty; echo "pid $$"\r');
  await screen.sees(/^pid 1\r$/m);
  screen.type('exit\r');
  assert.equal(await screen.ended(), 0, screen.text);
});

test('ps, inspect, logs, stop, rm, stopp, rmp', async () => {
  const id = await run('logs', 'echo hello; echo error >&2; sleep 1000', {});
  await eventually('both lines are logged', () => / error$/m.test(readFileSync(join(logs, 'logs.log'), 'utf8')));
  assert.match(await ok(['ps']), new RegExp(id.slice(0, 13)));
  const logged = await crictl(daemon, ['logs', id]);
  assert.equal(logged.stdout, 'hello\n');
  assert.equal(logged.stderr, 'error\n');
  const inspected = JSON.parse(await ok(['inspect', id])) as { status: { state: string; image: { image: string } } };
  assert.equal(inspected.status.state, 'CONTAINER_RUNNING');
  await ok(['stop', '-t', '1', id]);
  await ok(['rm', id]);
  assert.notEqual((await crictl(daemon, ['inspect', id])).code, 0);
  await ok(['stopp', podId]);
  await ok(['rmp', podId]);
  assert.doesNotMatch(await ok(['pods']), new RegExp(podId.slice(0, 13)));
});
