/** Many attachers at once, some of them slow or stopped: the others, the log, newcomers and the exit do not notice. */
import assert from 'node:assert/strict';
import { renameSync, rmSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AttachClient } from '../src/attach.ts';
import { ClientProcess } from '../src/client-process.ts';
import { readLog } from '../src/cri-log.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually, peakResidentBytes, residentBytes } from '../src/processes.ts';
import { randomFile } from '../src/random.ts';
import { daemonWithPod } from '../src/suite.ts';

const MIB = 1024 * 1024;
/** A daemon may grow by its live buffers and sockets, not by what slow clients have not read. */
const MEMORY_LIMIT = 384 * MIB;

const { daemon, pod } = await daemonWithPod();

test('50 attachers, one that stops reading, one at 1 MB/s, one stopped for a minute, over a log rotation: all exact', async () => {
  const half = 24 * MIB;
  const file = join(daemon.dir, 'half');
  await randomFile(file, half);
  const script = 'read go; cat /half; echo; read go; cat /half; echo; read go';
  const container = await runContainer(daemon, pod, script, { stdin: true, mounts: [{ containerPath: '/half', hostPath: file }] });
  const total = 2 * (half + 1);

  await using stopped = await ClientProcess.start(await container.attachUrl({ stdin: false }));
  await using slow = await ClientProcess.start(await container.attachUrl({ stdin: false }), MIB);
  using idle = await AttachClient.open(await container.attachUrl({ stdin: false }));
  using writer = await AttachClient.open(await container.attachUrl());
  const others = await Promise.all(
    Array.from({ length: 46 }, async () => AttachClient.open(await container.attachUrl({ stdin: false }))),
  );
  const quick = [writer, ...others];
  stopped.process.kill('SIGSTOP');
  idle.pause();
  const stoppedAt = performance.now();

  await writer.send('go\n');
  await eventually('the first half at all that read', () => quick.every((client) => client.stdout.bytes === half + 1), 120_000);
  const rotated = `${container.logFile}.1`;
  renameSync(container.logFile, rotated);
  await daemon.client.runtime.reopenContainerLog({ containerId: container.id });

  using newcomer = await AttachClient.open(await container.attachUrl({ stdin: false }));
  await writer.send('go\n');
  await eventually('the second half at all that read', () => quick.every((client) => client.stdout.bytes === total), 120_000);
  await eventually('the second half at the newcomer', () => newcomer.stdout.bytes === half + 1, 120_000);
  assert.ok(residentBytes(daemon.pid) < MEMORY_LIMIT, `the daemon has ${residentBytes(daemon.pid) / MIB} MiB`);

  await writer.send('go\n');
  for (const client of quick) assert.equal((await client.ended())?.status, 'Success');
  assert.equal((await container.exited()).exitCode, 0);
  const log = await readLog(rotated, container.logFile);
  assert.equal(log.stdoutBytes, total);
  const expected = writer.stdout.sha256();
  assert.equal(log.stdoutSha256, expected);
  for (const client of quick) assert.equal(client.stdout.sha256(), expected);

  idle.resume();
  assert.equal((await idle.ended())?.status, 'Success');
  assert.equal(idle.stdout.sha256(), expected);
  await sleep(Math.max(0, 60_000 - (performance.now() - stoppedAt)));
  stopped.process.kill('SIGCONT');
  for (const client of [stopped, slow]) {
    const { bytes, sha256, status, code, faults } = await client.result();
    assert.deepEqual(
      { bytes, sha256, status, code, faults },
      { bytes: total, sha256: expected, status: 'Success', code: 1000, faults: [] },
    );
  }
  assert.ok(peakResidentBytes(daemon.pid) < MEMORY_LIMIT, `the daemon had ${peakResidentBytes(daemon.pid) / MIB} MiB`);
});

test('a session that is 200 deleted log files behind gets every byte', async () => {
  const FILES = 200;
  const bytes = MIB / 2;
  const script = `while read -r go; do head -c ${bytes} /data; echo written >&2; done`;
  const file = join(daemon.dir, 'each');
  await randomFile(file, bytes);
  const container = await runContainer(daemon, pod, script, { stdin: true, mounts: [{ containerPath: '/data', hostPath: file }] });
  using behind = await AttachClient.open(await container.attachUrl({ stdin: false, stderr: false }));
  behind.pause();
  using writer = await AttachClient.open(await container.attachUrl());
  for (let n = 1; n <= FILES; n++) {
    await writer.send('go\n');
    await eventually('it is written', () => writer.stderr.bytes === n * 'written\n'.length && writer.stdout.bytes === n * bytes);
    renameSync(container.logFile, `${container.logFile}.old`);
    await daemon.client.runtime.reopenContainerLog({ containerId: container.id });
    rmSync(`${container.logFile}.old`);
  }
  behind.resume();
  await eventually('it has caught up', () => behind.closed !== undefined || behind.stdout.bytes === FILES * bytes, 120_000);
  assert.deepEqual([behind.status, behind.stdout.bytes], [undefined, FILES * bytes]);
  assert.equal(behind.stdout.sha256(), writer.stdout.sha256());
});

test('without a log a client that takes nothing holds the container for a bounded time, then it is ended and told so', async () => {
  await using bounded = await TestDaemon.start({ settings: '[stdio]\nstall_ms = 5000' });
  const bytes = 64 * MIB;
  const container = await runContainer(bounded, await runPod(bounded), `read go; head -c ${bytes} /dev/zero`, {
    stdin: true,
    log: false,
  });
  using stuck = await AttachClient.open(await container.attachUrl({ stdin: false }));
  using reader = await AttachClient.open(await container.attachUrl());
  stuck.pause();
  const start = performance.now();
  await reader.send('go\n');
  assert.equal((await reader.ended())?.status, 'Success');
  assert.equal(reader.stdout.bytes, bytes);
  const took = performance.now() - start;
  assert.ok(took > 4500, `held back for ${took} ms only: where did the bytes go?`);
  assert.ok(took < 60_000, `held back for ${took} ms`);
  stuck.resume();
  const status = await stuck.ended();
  assert.notEqual(status?.status, 'Success');
  assert.ok(stuck.stdout.bytes < bytes);
});

test('without a log a client that reads slowly misses nothing', async () => {
  const bytes = 12 * MIB;
  const container = await runContainer(daemon, pod, `read go; head -c ${bytes} /dev/zero`, { stdin: true, log: false });
  await using slow = await ClientProcess.start(await container.attachUrl({ stdin: false }), 3 * MIB);
  using writer = await AttachClient.open(await container.attachUrl());
  await writer.send('go\n');
  await writer.ended();
  assert.equal(writer.stdout.bytes, bytes);
  const { bytes: got, status } = await slow.result();
  assert.deepEqual({ got, status }, { got: bytes, status: 'Success' });
});

test('without a log a client that holds the container back does not hold up its stop', async () => {
  const container = await runContainer(daemon, pod, 'read go; cat /dev/zero', { stdin: true, log: false });
  using client = await AttachClient.open(await container.attachUrl());
  client.pause();
  await client.send('go\n');
  await sleep(1000);
  const began = performance.now();
  await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 0n });
  const took = performance.now() - began;
  const { exitCode, reason } = await container.status();
  assert.deepEqual([exitCode, reason], [137, 'Error']);
  assert.ok(took < 10_000, `it took ${took} ms`);
  client.resume();
  assert.equal((await client.ended())?.status, 'Success');
});

test('without a log a client that takes nothing of single bytes of both streams in turn: the daemon keeps little more than those', async () => {
  const EACH = 100_000;
  const script = `read -r _; i=0; while [ $i -lt ${EACH} ]; do printf a; printf b >&2; i=$((i+1)); done`;
  const container = await runContainer(daemon, pod, script, { stdin: true, log: false });
  using client = await AttachClient.open(await container.attachUrl());
  client.pause();
  const before = residentBytes(daemon.pid);
  await client.send('go\n');
  assert.equal((await container.exited(120_000)).exitCode, 0);
  const grown = residentBytes(daemon.pid) - before;
  assert.ok(grown < 100 * MIB, `${grown} bytes for ${2 * EACH}`);
  client.resume();
  assert.equal((await client.ended())?.status, 'Success');
  assert.equal(client.stdout.text(), 'a'.repeat(EACH));
  assert.equal(client.stderr.text(), 'b'.repeat(EACH));
});

test('a daemon that is stopped holds no container back for long, and catches up', async () => {
  const container = await runContainer(
    daemon,
    pod,
    'read go; i=0; while [ $i -lt 400000 ]; do echo "number $i"; i=$((i+1)); done',
    { stdin: true },
  );
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('go\n');
  await client.sees(/number 100\n/);
  daemon.signal('SIGSTOP');
  try {
    // The container runs to its end while nobody reads: only its log can tell.
    await eventually('the log is complete', async () => (await tailOf(container.logFile)) === 'number 399999', 120_000);
  } finally {
    daemon.signal('SIGCONT');
  }
  assert.equal((await client.ended())?.status, 'Success');
  const log = await readLog(container.logFile);
  assert.equal(log.records, 400_000);
  assert.equal(client.stdout.bytes, log.stdoutBytes);
  assert.equal(client.stdout.sha256(), log.stdoutSha256);
});

async function tailOf(file: string): Promise<string> {
  await using handle = await openFile(file);
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(Math.min(size, 200));
  await handle.read(buffer, 0, buffer.length, size - buffer.length);
  return buffer.toString().trimEnd().split(' ').slice(-2).join(' ');
}

test('1,000 sessions over 10 containers, each exact', async () => {
  const bytes = 256 * 1024;
  const containers = await Promise.all(
    Array.from({ length: 10 }, async () =>
      runContainer(daemon, pod, `read go; head -c ${bytes} /dev/zero; read go`, { stdin: true }),
    ),
  );
  const open: AttachClient[] = [];
  const writers: AttachClient[] = [];
  for (const container of containers) {
    const clients = await Promise.all(
      Array.from({ length: 99 }, async () => AttachClient.open(await container.attachUrl({ stdin: false }))),
    );
    open.push(...clients);
    const writer = await AttachClient.open(await container.attachUrl());
    writers.push(writer);
  }
  assert.equal(open.length + writers.length, 1000);
  for (const writer of writers) await writer.send('go\n');
  await eventually(
    'every session has every byte',
    () => [...open, ...writers].every((client) => client.stdout.bytes === bytes),
    120_000,
  );
  for (const writer of writers) await writer.send('go\n');
  const statuses = await Promise.all([...open, ...writers].map((client) => client.ended()));
  assert.ok(statuses.every((status) => status?.status === 'Success'));
  assert.ok(residentBytes(daemon.pid) < MEMORY_LIMIT, `the daemon has ${residentBytes(daemon.pid) / MIB} MiB`);
});
