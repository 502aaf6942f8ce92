/** Many calls at once on one pod and on one container, with real containers underneath: one outcome, nothing half. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RpcError } from '@berth/client';
import { ContainerState } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { createContainer, runPod } from '../src/pods.ts';

const MANY = 50;

let daemon: TestDaemon;

before(async () => {
  daemon = await TestDaemon.start();
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

const times = <T>(work: (index: number) => Promise<T>): Promise<PromiseSettledResult<T>[]> =>
  Promise.allSettled(Array.from({ length: MANY }, (_, index) => work(index)));

/** How many succeeded; the others failed with one of these. */
function succeeded(results: readonly PromiseSettledResult<unknown>[], ...statuses: string[]): number {
  const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown);
  for (const failure of failures)
    assert.ok(failure instanceof RpcError && statuses.includes(failure.status), `${String(failure)} instead of ${statuses.join()}`);
  return results.length - failures.length;
}

test(`${MANY} containers made, started and attached to at once in one pod, then the pod is stopped and removed ${MANY} times at once`, async () => {
  const pod = await runPod(daemon);
  const made = await Promise.all(
    Array.from({ length: MANY }, (_, index) => createContainer(daemon, pod, `read -r go; echo "I am ${index}"`, { stdin: true })),
  );
  assert.equal(succeeded(await Promise.allSettled(made.map((container) => container.start()))), MANY);
  const outputs = await Promise.all(
    made.map(async (container) => {
      using client = await AttachClient.open(await container.attachUrl());
      await client.send('go\n');
      assert.equal((await client.ended())?.status, 'Success');
      return client.stdout.text();
    }),
  );
  assert.deepEqual(
    outputs,
    made.map((_, index) => `I am ${index}\n`),
  );
  const podSandboxId = pod.id;
  assert.equal(succeeded(await times(() => daemon.client.runtime.stopPodSandbox({ podSandboxId }))), MANY);
  assert.equal(succeeded(await times(() => daemon.client.runtime.removePodSandbox({ podSandboxId }))), MANY);
  assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
  assert.deepEqual((await daemon.client.runtime.listPodSandbox({})).items, []);
});

test(`one container started, stopped and removed ${MANY} times at once: one of each, and all agree`, async () => {
  const pod = await runPod(daemon);
  const container = await createContainer(daemon, pod, 'sleep 1000');
  const containerId = container.id;
  const { runtime } = daemon.client;
  assert.equal(succeeded(await times(() => container.start()), 'FAILED_PRECONDITION'), 1);
  const mixed = await times(async (index) => {
    if (index % 2 === 0) await runtime.stopContainer({ containerId, timeout: 0n });
    else await container.attachUrl();
  });
  succeeded(mixed, 'FAILED_PRECONDITION', 'UNAVAILABLE');
  const status = await container.status();
  assert.deepEqual([status.state, status.exitCode], [ContainerState.CONTAINER_EXITED, 137]);
  assert.equal(succeeded(await times(() => runtime.removeContainer({ containerId }))), MANY);
  await runtime.removePodSandbox({ podSandboxId: pod.id });
});

test('half of the callers make containers while the other half stops and removes the pod: nothing is left', async () => {
  const pod = await runPod(daemon);
  const podSandboxId = pod.id;
  const results = await times(async (index) => {
    if (index % 2 === 0) await (await createContainer(daemon, pod, 'sleep 1000')).start();
    else if (index % 4 === 1) await daemon.client.runtime.stopPodSandbox({ podSandboxId });
    else await daemon.client.runtime.removePodSandbox({ podSandboxId });
  });
  succeeded(results, 'FAILED_PRECONDITION', 'NOT_FOUND');
  assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
  assert.deepEqual((await daemon.client.runtime.listPodSandbox({})).items, []);
});
