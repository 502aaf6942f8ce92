/** Every row of the second table of docs/attach.md that no other file shows, on real containers. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { daemonWithPod } from '../src/suite.ts';

const MIB = 1024 * 1024;
const ECHO = 'while read -r line; do echo "got $line"; done; echo over';
/** A loaded machine may be late, never early. */
const SLACK_MS = 10_000;
/** How long output is still received once nobody is attached. */
const LINGER_MS = 5_000;

const { daemon, pod } = await daemonWithPod();

/** Milliseconds that something took, and what it gave. */
async function timed<T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly result: T }> {
  const began = performance.now();
  const result = await work();
  return { ms: performance.now() - began, result };
}

/** How often the daemon's log has said that a container's input is discarded. */
const discards = (id: string): number =>
  daemon
    .log()
    .split('\n')
    .filter((line) => line.includes(id) && line.includes('input is discarded')).length;

test('a container without stdin: input and its end are discarded, said once; output goes on until the exit', async () => {
  const container = await runContainer(daemon, pod, 'while [ ! -e /tmp/go ]; do sleep 0.1; done; cat; echo out; exit 3');
  using client = await AttachClient.open(await container.attachUrl({ stdin: true }));
  await client.send('one\n');
  await client.send('two\n');
  client.closeStdin();
  // Its answer comes after everything before it has been read.
  await client.ping();
  await daemon.client.runtime.execSync({ containerId: container.id, cmd: ['touch', '/tmp/go'], timeout: 60n });
  assert.equal((await client.ended())?.status, 'Success');
  assert.equal(client.stdout.text(), 'out\n');
  assert.equal((await container.exited()).exitCode, 3);
  assert.equal(discards(container.id), 1);
});

test('stdin that was closed before: what a later client sends is discarded, output goes on', async () => {
  const container = await runContainer(daemon, pod, 'cat; echo closed; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo end', {
    stdin: true,
    stdinOnce: true,
  });
  using first = await AttachClient.open(await container.attachUrl());
  await first.send('a');
  first.closeStdin();
  await first.sees(/^aclosed\n$/);
  using second = await AttachClient.open(await container.attachUrl());
  await second.send('b');
  second.closeStdin();
  await eventually('it is said', () => discards(container.id) === 1);
  assert.equal(second.closed, undefined);
  await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 0n });
  for (const client of [first, second]) assert.equal((await client.ended())?.status, 'Success');
  assert.equal(second.stdout.text(), '');
});

test('the end of stdin ends the session with Success once the answer is there, and the container is untouched', async () => {
  const container = await runContainer(daemon, pod, `sleep 1; ${ECHO}`, { stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('list\n');
  client.closeStdin();
  // The container reads only after a second: no early end may take the answer away.
  assert.equal((await client.ended())?.status, 'Success');
  assert.deepEqual(client.closed, { code: 1000, reason: '' });
  assert.equal(client.stdout.text(), 'got list\n');
  using next = await AttachClient.open(await container.attachUrl());
  await next.send('again\n');
  await next.sees(/^got again\n$/);
});

/** Ends the client's stdin; gives how long the session went on. */
async function endOfStdin(client: AttachClient): Promise<number> {
  const { ms, result } = await timed(async () => {
    client.closeStdin();
    return await client.ended();
  });
  assert.equal(result?.status, 'Success');
  return ms;
}

/** A container that never falls silent: the session's time after the end of stdin, ms. */
async function chatty(tty: boolean): Promise<number> {
  const script = 'read -r line; while :; do echo "$line"; sleep 0.05; done';
  const container = await runContainer(daemon, pod, script, { tty, stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('tick\n');
  await client.sees(/tick\r?\ntick/);
  const ms = await endOfStdin(client);
  assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
  return ms;
}

/** A container that does not read its input for now; gives the same. What was sent is read later. */
async function unread(): Promise<number> {
  const flags = join(daemon.dir, 'flags');
  mkdirSync(flags);
  const container = await runContainer(daemon, pod, 'while [ ! -e /flags/go ]; do sleep 0.1; done; head -c 4; read -r go', {
    stdin: true,
    mounts: [{ containerPath: '/flags', hostPath: flags }],
  });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('late');
  const ms = await endOfStdin(client);
  using viewer = await AttachClient.open(await container.attachUrl({ stdin: false }));
  writeFileSync(join(flags, 'go'), '');
  await viewer.sees(/^late$/);
  return ms;
}

test('the end of stdin waits at most 1 s with a terminal, 5 s without, 30 s for a container that does not read', async () => {
  const took = await Promise.all([chatty(true), chatty(false), unread()]);
  for (const [index, most] of [1000, 5000, 30_000].entries()) {
    const ms = took[index] ?? 0;
    assert.ok(ms > most - 100 && ms < most + SLACK_MS, `${ms} ms instead of ${most}`);
  }
  // However late they were.
  assert.deepEqual(
    took,
    took.toSorted((a, b) => a - b),
  );
});

test('a stdin client that is lost closes the stdin of a stdin_once container; others keep their output', async () => {
  for (const leave of ['kill', 'close'] as const) {
    const container = await runContainer(daemon, pod, `${ECHO}; read -r x < /dev/zero; exit 4`, { stdin: true, stdinOnce: true });
    using viewer = await AttachClient.open(await container.attachUrl({ stdin: false }));
    using typist = await AttachClient.open(await container.attachUrl());
    await typist.send('x\n');
    await typist.sees(/got x\n/);
    typist[leave]();
    await viewer.sees(/^got x\nover\n$/);
    assert.equal(viewer.closed, undefined);
  }
});

test('a lost client without stdin closes nothing; one with a terminal neither', async () => {
  const once = await runContainer(daemon, pod, ECHO, { stdin: true, stdinOnce: true });
  const terminal = await runContainer(daemon, pod, ECHO, { stdin: true, stdinOnce: true, tty: true });
  (await AttachClient.open(await once.attachUrl({ stdin: false }))).kill();
  (await AttachClient.open(await terminal.attachUrl())).kill();
  await sleep(500);
  for (const container of [once, terminal]) {
    using client = await AttachClient.open(await container.attachUrl());
    await client.send('still\n');
    await client.sees(/got still\r?\n/);
    assert.doesNotMatch(client.stdout.text(), /over/);
  }
});

test('two clients with stdin: the end of one is not the end of the other', async () => {
  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  using one = await AttachClient.open(await container.attachUrl());
  using two = await AttachClient.open(await container.attachUrl());
  await one.send('one\n');
  one.closeStdin();
  assert.equal((await one.ended())?.status, 'Success');
  await two.send('two\n');
  await two.sees(/^got one\ngot two\n$/);
});

test('sizes: from viewers ignored while somebody types, taken when nobody does', async () => {
  const container = await runContainer(daemon, pod, "PS1='>> ' exec sh", { tty: true, stdin: true });
  using viewer = await AttachClient.open(await container.attachUrl({ stdin: false }));
  {
    using typist = await AttachClient.open(await container.attachUrl());
    typist.resize(101, 41);
    viewer.resize(55, 15);
    // Both have gone into the daemon when the viewer's pong has come.
    await viewer.ping();
    await typist.send('stty size\n');
    await typist.sees(/^41 101\r$/m);
  }
  await eventually('the size of a viewer counts', async () => {
    viewer.resize(66, 16);
    using asks = await AttachClient.open(await container.attachUrl());
    await asks.send('stty size\n');
    await asks.sees(/^\d+ \d+\r$/m);
    return /^16 66\r$/m.test(asks.stdout.text());
  });
});

test('output before the call is not sent, output between call and connection is', async () => {
  const container = await runContainer(daemon, pod, 'echo before; read -r a; echo "between $a"; read -r b; echo "after $b"', {
    stdin: true,
  });
  using other = await AttachClient.open(await container.attachUrl(), { from: 'start' });
  await other.sees(/before\n/);
  const url = await container.attachUrl();
  await other.send('1\n');
  await other.sees(/between 1\n/);
  using client = await AttachClient.open(url);
  await other.send('2\n');
  assert.equal((await client.ended())?.status, 'Success');
  assert.equal(client.stdout.text(), 'between 1\nafter 2\n');
});

test('who attaches again after a loud session, once the daemon has stopped listening, gets what is new', async () => {
  const container = await runContainer(daemon, pod, 'while read -r n; do head -c "$n" /dev/zero; echo; done', { stdin: true });
  for (const pauseMs of [0, LINGER_MS + 1000]) {
    await sleep(pauseMs);
    using client = await AttachClient.open(await container.attachUrl());
    await client.send('1000000\n');
    await eventually('the loud output', () => client.stdout.bytes === 1_000_001);
    client.close();
    await client.ended();
  }
});

test('ended between call and connection: the upgrade succeeds, output since the call, status, close 1000', async () => {
  for (const log of [true, false]) {
    const container = await runContainer(daemon, pod, 'echo before; read -r a; echo "last words"; exit 5', { stdin: true, log });
    using other = await AttachClient.open(await container.attachUrl(), { from: 'start' });
    await other.sees(/before\n/);
    const urls = [await container.attachUrl(), await container.attachUrl()];
    await other.send('1\n');
    await other.ended();
    await container.exited();
    using client = await AttachClient.open(urls[0] ?? '');
    assert.equal((await client.ended())?.status, 'Success');
    assert.deepEqual([client.stdout.text(), client.closed], ['last words\n', { code: 1000, reason: '' }]);
    await daemon.client.runtime.removeContainer({ containerId: container.id });
    using removed = await AttachClient.open(urls[1] ?? '');
    const status = await removed.ended();
    assert.equal(status?.status, 'Failure');
    assert.match(status.message ?? '', /removed/);
    assert.deepEqual([removed.stdout.bytes, removed.closed], [0, { code: 1000, reason: '' }]);
  }
});

test('with exit_code_status stock clients are told the exit code, and without a failure nothing changes', async () => {
  await using other = await TestDaemon.start({ settings: '[stdio]\nexit_code_status = true' });
  const otherPod = await runPod(other);
  for (const code of [0, 42]) {
    const container = await runContainer(other, otherPod, `read -r go; exit ${code}`, { stdin: true });
    using client = await AttachClient.open(await container.attachUrl());
    await client.send('\n');
    const status = await client.ended();
    if (code === 0) assert.equal(status?.status, 'Success');
    else {
      assert.deepEqual([status?.status, status?.reason], ['Failure', 'NonZeroExitCode']);
      assert.deepEqual(status?.details?.causes, [{ reason: 'ExitCode', message: String(code) }]);
    }
  }
});

test('who lags further behind than the limit is told so after what was queued; the others and the exit do not notice', async () => {
  await using other = await TestDaemon.start({ settings: `[stdio]\nmax_lag_bytes = ${8 * MIB}` });
  // In pieces below the limit: nobody but the one that stands still is ever that far behind.
  const piece = 2 * MIB;
  const pieces = 16;
  const bytes = pieces * piece;
  const container = await runContainer(other, await runPod(other), `while read -r go; do head -c ${piece} /dev/zero; done`, {
    stdin: true,
    stdinOnce: true,
  });
  using stuck = await AttachClient.open(await container.attachUrl({ stdin: false }));
  using reader = await AttachClient.open(await container.attachUrl());
  stuck.pause();
  for (let i = 1; i <= pieces; i += 1) {
    await reader.send('go\n');
    await eventually(`piece ${i}`, () => reader.stdout.bytes === i * piece);
  }
  reader.closeStdin();
  assert.equal((await reader.ended())?.status, 'Success');
  await container.exited();
  stuck.resume();
  const status = await stuck.ended();
  assert.deepEqual([status?.status, status?.reason], ['Failure', 'LagLimit']);
  assert.ok(stuck.stdout.bytes > 0 && stuck.stdout.bytes < bytes);
  assert.equal(stuck.closed?.code, 1000);
});

test('slow = "end": without a log a client that falls behind is ended at once, and the container is not held', async () => {
  await using other = await TestDaemon.start({ settings: '[stdio]\nslow = "end"\nstall_ms = 600000' });
  const bytes = 64 * MIB;
  const container = await runContainer(other, await runPod(other), `read -r go; head -c ${bytes} /dev/zero`, {
    stdin: true,
    log: false,
  });
  using stuck = await AttachClient.open(await container.attachUrl({ stdin: false }));
  stuck.pause();
  using writer = await AttachClient.open(await container.attachUrl({ stdout: false, stderr: false }));
  await writer.send('go\n');
  const { ms } = await timed(() => container.exited(120_000));
  assert.ok(ms < 60_000, `held for ${ms} ms`);
  stuck.resume();
  const status = await stuck.ended();
  assert.deepEqual([status?.status, status?.reason], ['Failure', 'SlowClient']);
});

test('a daemon that stops says so to its sessions, and a stdin_once container keeps its stdin', async () => {
  await using other = await TestDaemon.start();
  const container = await runContainer(other, await runPod(other), ECHO, { stdin: true, stdinOnce: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('x\n');
  await client.sees(/got x\n/);
  await other.stop();
  const status = await client.ended();
  assert.deepEqual([status?.status, status?.reason, client.closed?.code], ['Failure', 'SessionEnded', 1000]);
  await other.start();
  using next = await AttachClient.open(await container.attachUrl());
  await next.send('y\n');
  await next.sees(/^got y\n$/);
});
