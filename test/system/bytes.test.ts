/** Bytes through attach: every value, much of them, both ways, both streams, and the last ones before an exit. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { AttachClient } from '../src/attach.ts';
import { readLog } from '../src/cri-log.ts';
import { runContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { randomBlocks, randomFile, randomSha256 } from '../src/random.ts';
import { daemonWithPod } from '../src/suite.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

const { daemon, pod } = await daemonWithPod();

const ALL_VALUES = Buffer.concat([
  ...Array.from({ length: 256 }, () => Buffer.from(Array.from({ length: 256 }, (_, value) => value))),
  Buffer.alloc(100_000),
  Buffer.alloc(70_000, 0xff),
  Buffer.alloc(5000, '\r\n'),
  Buffer.alloc(5000, '\n'),
]);

test('all 256 byte values and runs of NUL come out as they are, live and in the log', async () => {
  writeFileSync(join(daemon.dir, 'values'), ALL_VALUES);
  const mounts = [{ containerPath: '/values', hostPath: join(daemon.dir, 'values') }];
  const container = await runContainer(daemon, pod, 'read go; cat /values', { stdin: true, mounts });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('go\n');
  assert.equal((await client.ended())?.status, 'Success');
  assert.equal(client.stdout.text(), ALL_VALUES.toString('latin1'));
  await container.exited();
  assert.equal((await readLog(container.logFile)).stdoutText, ALL_VALUES.toString('latin1'));
});

test('all 256 byte values go in as they are', async () => {
  const container = await runContainer(daemon, pod, 'cat', { stdin: true, stdinOnce: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send(ALL_VALUES);
  client.closeStdin();
  assert.equal((await client.ended())?.status, 'Success');
  assert.equal(client.stdout.text(), ALL_VALUES.toString('latin1'));
  assert.equal((await container.exited()).exitCode, 0);
});

test('1 GiB of random data comes out with the same SHA-256, and stands in the log', async () => {
  const file = join(daemon.dir, 'gib');
  const expected = await randomFile(file, GIB);
  const mounts = [{ containerPath: '/gib', hostPath: file }];
  const container = await runContainer(daemon, pod, 'read go; cat /gib', { stdin: true, mounts });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('go\n');
  assert.equal((await client.ended(300_000))?.status, 'Success');
  assert.equal(client.stdout.bytes, GIB);
  assert.equal(client.stdout.sha256(), expected);
  await container.exited();
  const log = await readLog(container.logFile);
  assert.equal(log.stdoutBytes, GIB);
  assert.equal(log.stdoutSha256, expected);
});

test('1 GiB of random data goes in with the same SHA-256', async () => {
  const container = await runContainer(daemon, pod, 'sha256sum', { stdin: true, stdinOnce: true });
  using client = await AttachClient.open(await container.attachUrl());
  for (const block of randomBlocks(GIB, 2)) await client.send(block);
  client.closeStdin();
  assert.equal((await client.ended(300_000))?.status, 'Success');
  assert.equal(client.stdout.text().slice(0, 64), randomSha256(GIB, 2));
});

test('stdout and stderr stay apart, each in order', async () => {
  const lines = 5000;
  const script = `read go; i=0; while [ $i -lt ${lines} ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done`;
  const container = await runContainer(daemon, pod, script, { stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('go\n');
  assert.equal((await client.ended())?.status, 'Success');
  const numbered = (word: string): string => Array.from({ length: lines }, (_, i) => `${word} ${i}\n`).join('');
  assert.equal(client.stdout.text(), numbered('out'));
  assert.equal(client.stderr.text(), numbered('err'));
  await container.exited();
  const log = await readLog(container.logFile);
  assert.equal(log.stdoutText, numbered('out'));
  assert.equal(log.stderrText, numbered('err'));
});

test('1 MiB written right before the exit is always there: 50 of 50, half of them with a slow reader', async () => {
  const file = join(daemon.dir, 'mib');
  const expected = await randomFile(file, MIB, 3);
  const mounts = [{ containerPath: '/mib', hostPath: file }];
  const results = [];
  for (let run = 0; run < 50; run += 1) {
    const container = await runContainer(daemon, pod, 'read go; cat /mib', { stdin: true, mounts });
    using client = await AttachClient.open(await container.attachUrl());
    await client.send('go\n');
    if (run % 2 === 1) {
      client.pause();
      await container.exited();
      await sleep(50);
      client.resume();
    }
    const status = await client.ended();
    results.push({ run, sha256: client.stdout.sha256(), status: status?.status, code: client.closed?.code });
    await daemon.client.runtime.removeContainer({ containerId: container.id });
  }
  const right = { sha256: expected, status: 'Success', code: 1000 };
  assert.deepEqual(
    results,
    Array.from({ length: 50 }, (_, run) => ({ run, ...right })),
  );
});

test('from the start: what was written before the attach, then what comes live, without a hole', async () => {
  const container = await runContainer(
    daemon,
    pod,
    'i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done; read go; echo end',
    { stdin: true },
  );
  await sleep(200);
  using client = await AttachClient.open(await container.attachUrl(), { from: 'start' });
  await client.sees(/line 19999\n/);
  await client.send('go\n');
  await client.ended();
  assert.equal(client.stdout.text(), `${Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join('')}end\n`);
});

for (const [what, retire] of [
  [
    'compressed, as kubelet does it',
    (old: string) => {
      writeFileSync(`${old}.tmp`, gzipSync(readFileSync(old)));
      renameSync(`${old}.tmp`, `${old}.gz`);
      rmSync(old);
    },
  ],
  [
    'deleted, and its inode is that of the log in use',
    (old: string, log: string) => {
      truncateSync(old);
      renameSync(old, log);
    },
  ],
] as const) {
  test(`from the start, when the oldest log file has been ${what}: all that is kept`, async () => {
    const steps = join(daemon.dir, what.slice(0, 4));
    mkdirSync(steps);
    const script = 'for n in 1 2 3; do echo "part $n"; while [ ! -e /steps/$n ]; do sleep 0.05; done; done; echo end';
    const container = await runContainer(daemon, pod, script, { mounts: [{ containerPath: '/steps', hostPath: steps }] });
    const log = container.logFile;
    for (const n of [1, 2]) {
      await eventually(`part ${n}`, () => readFileSync(log, 'utf8').includes(`part ${n}`));
      renameSync(log, `${log}.${n}`);
      if (n === 2) retire(`${log}.1`, log);
      await daemon.client.runtime.reopenContainerLog({ containerId: container.id });
      writeFileSync(join(steps, `${n}`), '');
    }
    await eventually('part 3', () => readFileSync(log, 'utf8').includes('part 3'));
    using client = await AttachClient.open(await container.attachUrl(), { from: 'start' });
    await client.sees(/part 3\n/);
    writeFileSync(join(steps, '3'), '');
    assert.equal((await client.ended())?.status, 'Success');
    assert.equal(client.stdout.text(), 'part 2\npart 3\nend\n');
  });
}
