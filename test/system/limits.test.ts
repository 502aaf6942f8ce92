/** Limits as kubelets see them: more memory than allowed ends a container as OOMKilled, and limits change while it runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UNIFIED } from '../src/cgroups.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { daemonWithPod } from '../src/suite.ts';

const MIB = 1024n * 1024n;
/** Far more than any limit here: of what `tail` keeps until the end that never comes. */
const EAT = 'tail -c 300000000 /dev/zero';
/** Both together, so that a machine with swap has none to give. */
const memory = (bytes: bigint) => ({ memoryLimitInBytes: bytes, memorySwapLimitInBytes: bytes });

const { daemon, pod } = await daemonWithPod();
const execSync = async ({ id }: TestContainer, script: string) =>
  await daemon.client.runtime.execSync({ containerId: id, cmd: ['sh', '-c', script], timeout: 60n });

test('init uses more memory than it may: OOMKilled, 137', async () => {
  const status = await (await runContainer(daemon, pod, `exec ${EAT}`, { resources: memory(32n * MIB) })).exited();
  assert.deepEqual([status.reason, status.exitCode], ['OOMKilled', 137]);
  const other = await (await runContainer(daemon, pod, 'exit 4', { resources: memory(32n * MIB) })).exited();
  assert.deepEqual([other.reason, other.exitCode], ['Error', 4]);
});

const MANY = `${EAT}; echo survived; exit 0`;

test('one program of many is killed: the container goes on, and says so at its end', async () => {
  const status = await (await runContainer(daemon, pod, MANY, { resources: memory(32n * MIB) })).exited();
  assert.deepEqual([status.reason, status.exitCode], ['OOMKilled', 0]);
});

test('all programs are killed together where kubelets ask for it (cgroup v2)', async (t) => {
  if (!UNIFIED) return t.skip('limits are set through cgroup v1 here');
  const resources = { ...memory(32n * MIB), unified: { 'memory.oom.group': '1' } };
  const status = await (await runContainer(daemon, pod, MANY, { resources })).exited();
  assert.deepEqual([status.reason, status.exitCode], ['OOMKilled', 137]);
});

test('a program of exec counts, and a limit that is changed counts at once', async () => {
  const container = await runContainer(daemon, pod, 'sleep 1000', { resources: memory(512n * MIB) });
  const some = `head -c 100000000 /dev/zero | ${EAT.replace(' /dev/zero', '')}`;
  assert.equal(Buffer.from((await execSync(container, `${some} | wc -c`)).stdout).toString(), '100000000\n');
  assert.equal((await execSync(container, `${some} > /dev/null`)).exitCode, 0);
  await daemon.client.runtime.updateContainerResources({ containerId: container.id, linux: memory(32n * MIB) });
  // The kernel now and then kills the next one too, before the memory of the one that eats is free: only the status says the same both ways.
  assert.equal((await execSync(container, `${some} > /dev/null`)).exitCode, 137);
});
