/** Faults: the daemon killed again and again, in the middle of anything; a full disk under the log. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RpcError } from '@berth/client';
import { ContainerState, NamespaceMode } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { readLog } from '../src/cri-log.ts';
import { TestDaemon } from '../src/daemon.ts';
import { createContainer, runContainer, runPod } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

test('the daemon is killed 30 times under output, creation and stopping: the log is complete and in order, nothing is half', async () => {
  await using daemon = await TestDaemon.start({ built: true });
  const pod = await runPod(daemon);
  // A line now and then makes holes and doubles visible; the bulk between them keeps the pipe busy.
  const script = 'i=0; while [ ! -e /tmp/stop ]; do echo "number $i"; i=$((i+1)); done; echo "count $i"';
  const container = await runContainer(daemon, pod, `trap 'touch /tmp/stop' TERM; ${script}`, {});
  for (let round = 0; round < 30; round += 1) {
    const pending = [
      createContainer(daemon, pod, 'sleep 1000').then((made) => made.start()),
      ...(await running(daemon))
        .filter((id) => id !== container.id)
        .map((id) => daemon.client.runtime.stopContainer({ containerId: id, timeout: 0n })),
    ];
    const settled = Promise.allSettled(pending);
    await sleep(round * 7);
    await daemon.kill();
    await settled;
    await daemon.start();
    assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING, `after kill ${round + 1}`);
  }
  using client = await AttachClient.open(await container.attachUrl());
  await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 60n });
  assert.equal((await client.ended())?.status, 'Success');
  assert.equal((await container.exited()).exitCode, 0);

  const log = await readLog(container.logFile);
  await assertNumbered(container.logFile, log.records);

  const { containers } = await daemon.client.runtime.listContainers({});
  for (const { id } of containers) {
    const { status } = await daemon.client.runtime.containerStatus({ containerId: id });
    assert.notEqual(status?.state, ContainerState.CONTAINER_UNKNOWN);
    await daemon.client.runtime.stopContainer({ containerId: id, timeout: 0n });
    await daemon.client.runtime.removeContainer({ containerId: id });
  }
});

async function running(daemon: TestDaemon): Promise<string[]> {
  const { containers } = await daemon.client.runtime.listContainers({
    filter: { state: { state: ContainerState.CONTAINER_RUNNING } },
  });
  return containers.map(({ id }) => id);
}

/** Every number once, in order, and the count at the end. */
async function assertNumbered(file: string, records: number): Promise<void> {
  let expected = 0;
  let last = '';
  for await (const line of createInterface({ input: createReadStream(file) })) {
    last = line.slice(line.indexOf(' F ') + 3);
    if (last === `number ${expected}`) expected += 1;
    else if (!last.startsWith('count ')) assert.fail(`"${last}" stands where "number ${expected}" should`);
  }
  assert.equal(last, `count ${expected}`);
  assert.equal(records, expected + 1);
}

test('who calls while the daemon is away is refused, and answered once it is back', async () => {
  await using daemon = await TestDaemon.start({ built: true });
  await daemon.kill();
  await assert.rejects(daemon.client.runtime.version(), { status: 'UNAVAILABLE' });
  await daemon.start();
  assert.equal((await daemon.client.runtime.version()).runtimeName, 'berth');
});

test('containers that end while no daemon is there show their true exit code and time', async () => {
  await using daemon = await TestDaemon.start();
  const pod = await runPod(daemon);
  const container = await runContainer(daemon, pod, 'while [ ! -e /tmp/go ]; do sleep 0.1; done; echo last words; exit 17');
  const { init } = await container.pids();
  await daemon.kill();
  writeFileSync(`/proc/${init}/root/tmp/go`, '');
  await eventually('its record', () => existsSync(join(daemon.root, 'containers', container.id, 'exit.json')));
  await sleep(1000);
  const restarted = Date.now();
  await daemon.start();
  const status = await container.status();
  assert.equal(status.state, ContainerState.CONTAINER_EXITED);
  assert.equal(status.exitCode, 17);
  assert.ok(Number(status.finishedAt / 1_000_000n) < restarted - 500, 'the time is that of the end, not that of the restart');
  assert.equal((await readLog(container.logFile)).stdoutText, 'last words\n');
});

test('a client that comes back to a restarted daemon finds the same process', async () => {
  await using daemon = await TestDaemon.start();
  const pod = await runPod(daemon);
  const container = await runContainer(daemon, pod, 'marker=kept; while read -r line; do echo "$marker $line"; done', {
    stdin: true,
  });
  using first = await AttachClient.open(await container.attachUrl());
  await first.send('one\n');
  await first.sees(/kept one\n/);
  await daemon.kill();
  await first.ended();
  await daemon.start();
  using second = await AttachClient.open(await container.attachUrl());
  await second.send('two\n');
  await second.sees(/^kept two\n$/);
});

/** A container that answers each line, and what reopens its log. */
async function echoing(daemon: TestDaemon) {
  const pod = await runPod(daemon);
  const container = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });
  const reopen = async (): Promise<unknown> => await daemon.client.runtime.reopenContainerLog({ containerId: container.id });
  return { container, reopen };
}

test('a supervisor that is stopped: Attach and ReopenContainerLog say so after a while, and everything goes on once it does', async () => {
  await using daemon = await TestDaemon.start();
  const { container, reopen } = await echoing(daemon);
  const { shim } = await container.pids();
  process.kill(shim, 'SIGSTOP');
  const silent = (error: unknown): boolean =>
    error instanceof RpcError && error.code === 'SHIM_LOST' && /does not answer/.test(error.message);
  await Promise.all(
    [container.attachUrl(), container.attachUrl(), reopen()].map(async (call) => await assert.rejects(call, silent)),
  );
  process.kill(shim, 'SIGCONT');
  for (const word of ['one', 'two']) {
    using client = await AttachClient.open(await container.attachUrl());
    await client.send(`${word}\n`);
    await client.sees(new RegExp(`^got ${word}\n$`));
    await reopen();
  }
});

test('a log that cannot be reopened: said so, and what the container writes goes to the file that it has', async () => {
  await using daemon = await TestDaemon.start();
  const { container, reopen } = await echoing(daemon);
  using client = await AttachClient.open(await container.attachUrl());
  const old = `${container.logFile}.1`;
  renameSync(container.logFile, old);
  symlinkSync(old, container.logFile);
  await assert.rejects(
    reopen(),
    (error) => error instanceof RpcError && error.code === 'LOG_REFUSED' && /ELOOP/.test(error.message),
  );
  await client.send('one\n');
  await client.sees(/one\n$/);
  rmSync(container.logFile);
  await reopen();
  await client.send('two\n');
  await client.sees(/two\n$/);
  assert.deepEqual([(await readLog(old)).stdoutText, (await readLog(container.logFile)).stdoutText], ['got one\n', 'got two\n']);
});

test('the disk is full under the log: container and attach go on, the loss is counted and reported', async () => {
  await using daemon = await TestDaemon.start();
  const logDirectory = join(daemon.dir, 'small');
  mkdirSync(logDirectory);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', logDirectory]);
  try {
    const config = {
      metadata: { name: 'full', namespace: 'test', uid: 'full', attempt: 0 },
      logDirectory,
      linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
    };
    const { podSandboxId } = await daemon.client.runtime.runPodSandbox({ config });
    // More than the disk takes, and no more than the daemon keeps for who is attached: what is in no log cannot be read from there.
    const pieces = 48;
    const bytes = pieces * 65_536;
    const container = await runContainer(
      daemon,
      { id: podSandboxId, config },
      `read go; for i in $(seq ${pieces}); do yes 0123456789 | head -c 65536; sleep 0.02; done; read go; echo "end"`,
      { stdin: true },
    );
    using client = await AttachClient.open(await container.attachUrl());
    await client.send('go\n');
    // What the attacher was sent live is complete even though most of it is in no log.
    await client.sees(/0123456789/);
    await sleep(2000);
    await client.send('go\n');
    assert.equal((await client.ended())?.status, 'Success');
    assert.equal(client.stdout.bytes, bytes + 4);
    assert.equal((await container.exited()).exitCode, 0);
    const log = await readLog(container.logFile);
    assert.ok(log.stdoutBytes < bytes);
    await eventually('the loss is told', () => /lost/i.test(daemon.log()));
    await daemon.removeEverything();
  } finally {
    execFileSync('umount', ['-l', logDirectory]);
  }
});
