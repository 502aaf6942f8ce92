/** The acceptance list of iSulad's attach tests, re-created for LCR containers: small things first, then much data in parallel. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { ClientProcess } from '../src/client-process.ts';
import { readLog } from '../src/cri-log.ts';
import { runContainer } from '../src/pods.ts';
import { countDescriptors, eventually, listProcesses } from '../src/processes.ts';
import { daemonWithPod } from '../src/suite.ts';

const MB = 1024 * 1024;
/** iSulad gives 20 s for everything to settle. */
const SETTLE_MS = 20_000;

const { daemon, pod } = await daemonWithPod();

test('attach, ls, exit: the log has the line once, the container is exited, a second attach is refused with the state', async () => {
  const container = await runContainer(daemon, pod, 'exec sh', { tty: true, stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  await client.send('ls -d /bin\n');
  await client.sees(/^\/bin\r$/m);
  await client.send('exit 3\n');
  assert.equal((await client.ended())?.status, 'Success');
  assert.deepEqual(client.closed, { code: 1000, reason: '' });
  assert.deepEqual(client.faults, []);
  const status = await container.exited(SETTLE_MS);
  assert.equal(status.exitCode, 3);
  const { stdoutText } = await readLog(container.logFile);
  assert.equal(stdoutText.match(/ls -d \/bin\r$/gm)?.length, 1);
  assert.equal(stdoutText.match(/^\/bin\r$/gm)?.length, 1);
  await assert.rejects(container.attachUrl(), /exited/i);
});

test('an attach client that is killed leaves nothing behind, and its container goes on', async () => {
  const container = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });
  const before = countDescriptors(daemon.pid);
  {
    await using client = await ClientProcess.start(await container.attachUrl());
    assert.ok(countDescriptors(daemon.pid) > before);
    client.process.kill('SIGKILL');
  }
  await eventually('its descriptors are closed', () => countDescriptors(daemon.pid) <= before, SETTLE_MS);
  using next = await AttachClient.open(await container.attachUrl());
  await next.send('hello\n');
  await next.sees(/^got hello\n$/);
});

for (const [copies, bytes] of [
  [5, 500 * MB],
  [30, 20 * MB],
] as const) {
  for (const tty of [false, true]) {
    test(`${copies} times ${bytes / MB} MB in parallel, ${tty ? 'terminal' : 'pipes'}: every one exact`, async () => {
      const script = `${tty ? 'stty -echo; ' : ''}echo ready; read go; head -c ${bytes} /dev/zero`;
      const counts = await Promise.all(
        Array.from({ length: copies }, async () => {
          const container = await runContainer(daemon, pod, script, { tty, stdin: true });
          using client = await AttachClient.open(await container.attachUrl(), { from: 'start' });
          await client.sees(/ready\r?\n/);
          const greeting = client.stdout.bytes;
          await client.send('go\n');
          const status = await client.ended(SETTLE_MS * 15);
          assert.equal(status?.status, 'Success');
          await daemon.client.runtime.removeContainer({ containerId: container.id });
          return client.stdout.bytes - greeting;
        }),
      );
      assert.deepEqual(counts, Array<number>(copies).fill(bytes));
    });
  }
}

test('a client that is stopped and continued gets everything', async () => {
  const bytes = 200 * MB;
  const container = await runContainer(daemon, pod, `read go; head -c ${bytes} /dev/zero`, { stdin: true });
  await using stopped = await ClientProcess.start(await container.attachUrl({ stdin: false }));
  using other = await AttachClient.open(await container.attachUrl());
  await other.send('go\n');
  await other.sees(/^./s);
  stopped.process.kill('SIGSTOP');
  assert.equal((await other.ended())?.status, 'Success');
  assert.equal(other.stdout.bytes, bytes);
  await container.exited(SETTLE_MS);
  await sleep(1000);
  stopped.process.kill('SIGCONT');
  const { faults, ...result } = await stopped.result();
  assert.deepEqual(faults, []);
  assert.equal(result.bytes, bytes);
  assert.equal(result.status, 'Success');
  assert.equal(result.code, 1000);
});

for (const who of ["LXC's monitor", 'the shim'] as const) {
  test(`${who} is stopped and continued: every byte, and the exit, come late and right`, async () => {
    const bytes = 100 * MB;
    // The second half waits to be asked for: the program is not over before the other process has stopped.
    const script = `read go; head -c ${bytes / 2} /dev/zero; read go; head -c ${bytes / 2} /dev/zero; exit 6`;
    const container = await runContainer(daemon, pod, script, { stdin: true });
    using client = await AttachClient.open(await container.attachUrl());
    const pid = who === 'the shim' ? shimOf(container.id) : monitorOf(container.id);
    await client.send('go\n');
    await client.sees(/^./s);
    process.kill(pid, 'SIGSTOP');
    await client.send('go\n');
    await sleep(2000);
    assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
    process.kill(pid, 'SIGCONT');
    assert.equal((await client.ended())?.status, 'Success');
    assert.equal(client.stdout.bytes, bytes);
    assert.equal((await container.exited(SETTLE_MS)).exitCode, 6);
    assert.equal((await readLog(container.logFile)).stdoutBytes, bytes);
  });
}

function monitorOf(id: string): number {
  const monitor = listProcesses().find(
    ({ command }) => command.includes('lxc') && command.includes(id) && !command.includes('shim'),
  );
  assert.ok(monitor, 'there is a monitor of this container');
  return monitor.pid;
}

const shimOf = (id: string): number => Number.parseInt(readFileSync(join(daemon.state, id, 'shim.pid'), 'utf8'), 10);

test("LXC's monitor is killed: that container is over and says so, the pod takes another", async () => {
  const container = await runContainer(daemon, pod, 'echo up; sleep 1000', { stdin: true });
  using client = await AttachClient.open(await container.attachUrl(), { from: 'start' });
  await client.sees(/up/);
  process.kill(monitorOf(container.id), 'SIGKILL');
  const status = await container.exited(SETTLE_MS);
  assert.notEqual(status.exitCode, 0);
  await client.ended();
  assert.ok(!listProcesses().some(({ command }) => command === 'sleep 1000' && command.includes(container.id)));
  const next = await runContainer(daemon, pod, 'echo again');
  assert.equal((await next.exited()).exitCode, 0);
});

test('the shim is killed: that container alone is affected, and shown so', async () => {
  const victim = await runContainer(daemon, pod, 'sleep 1000');
  const neighbour = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });
  using client = await AttachClient.open(await neighbour.attachUrl());
  process.kill(shimOf(victim.id), 'SIGKILL');
  const status = await victim.exited(SETTLE_MS);
  assert.equal(status.exitCode, 255);
  assert.notEqual(status.reason, 'Completed');
  await client.send('still here\n');
  await client.sees(/^got still here\n$/);
  assert.equal((await neighbour.status()).state, ContainerState.CONTAINER_RUNNING);
});
