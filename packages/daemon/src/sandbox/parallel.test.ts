import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerState, PodSandboxState } from '@berth/cri-api';
import { type ServiceError, status as grpc } from '@grpc/grpc-js';
import { DaemonUnderTest } from '../testing/daemon-under-test.ts';

test('stopping a pod ends its running containers, removing it removes them', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running('pod', { command: ['ignore-signals'] });
  const second = await host.container(pod, 'second');
  await host.cri.stopPodSandbox({ podSandboxId: pod });
  const status = await host.cri.podSandboxStatus({ podSandboxId: pod });
  assert.deepEqual(
    status.containersStatuses.map((each) => [each.id, each.state, each.exitCode]),
    [
      [container, ContainerState.CONTAINER_EXITED, 137],
      [second, ContainerState.CONTAINER_CREATED, 0],
    ],
  );
  await host.cri.removePodSandbox({ podSandboxId: pod });
  assert.equal((await host.cri.listContainers({})).containers.length, 0);
  assert.equal(host.runtime.containers.size + host.runtime.pods.size, 0);
});

test('a pod that has ended by itself is not ready for whoever asks, and stopped once; what fails is done by the next stop', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running('pod', { command: ['ignore-signals'] });
  const other = await host.pod('other');
  host.runtime.podsEnded.add(pod);
  let removals = 0;
  const removing = Promise.withResolvers<void>();
  host.runtime.before = async (operation) => {
    if (operation !== 'removePod' || removals++ > 0) return;
    await removing.promise;
    throw new Error('busy');
  };
  const states = async () =>
    (await host.cri.listPodSandbox({})).items.map(({ id, state }) => [id, state] as const).toSorted(([, a], [, b]) => a - b);
  const expected = [
    [other, PodSandboxState.SANDBOX_READY],
    [pod, PodSandboxState.SANDBOX_NOTREADY],
  ];
  // Nobody waits for the stop.
  for (const seen of await Promise.all(Array.from({ length: 20 }, states))) assert.deepEqual(seen, expected);
  await assert.rejects(host.container(pod, 'late'), /not ready/);
  removing.resolve();
  await host.cri.stopPodSandbox({ podSandboxId: pod });
  assert.equal(removals, 2);
  assert.deepEqual(await states(), expected);
  const { status } = await host.cri.containerStatus({ containerId: container });
  assert.equal(status?.state, ContainerState.CONTAINER_EXITED);
});

test('50 parallel calls of each kind on one pod leave one outcome', async () => {
  await using host = await DaemonUnderTest.start();
  const fifty = (call: () => Promise<unknown>) => Promise.allSettled(Array.from({ length: 50 }, call));
  const codes = (outcomes: PromiseSettledResult<unknown>[]) => {
    const counts: Record<string, number> = {};
    for (const outcome of outcomes) {
      const code = outcome.status === 'fulfilled' ? 'OK' : (grpc[(outcome.reason as ServiceError).code] ?? '?');
      counts[code] = (counts[code] ?? 0) + 1;
    }
    return counts;
  };
  assert.deepEqual(codes(await fifty(() => host.pod('same'))), { OK: 1, ALREADY_EXISTS: 49 });
  const pod = (await host.cri.listPodSandbox({})).items[0]?.id ?? '';
  assert.deepEqual(codes(await fifty(() => host.container(pod, 'same'))), { OK: 1, ALREADY_EXISTS: 49 });
  const container = (await host.cri.listContainers({})).containers[0]?.id ?? '';
  assert.deepEqual(codes(await fifty(() => host.cri.startContainer({ containerId: container }))), {
    OK: 1,
    FAILED_PRECONDITION: 49,
  });
  let index = 0;
  const mixed = await fifty(() => {
    index++;
    if (index % 5 === 0) return host.container(pod, `c${index}`);
    if (index % 5 === 1) return host.cri.podSandboxStatus({ podSandboxId: pod });
    if (index % 5 === 2) return host.cri.listContainers({ filter: { podSandboxId: pod } });
    if (index % 5 === 3) return host.cri.containerStatus({ containerId: container });
    return host.cri.stopContainer({ containerId: container, timeout: 5n });
  });
  assert.deepEqual(codes(mixed), { OK: 50 });
  assert.deepEqual(codes(await fifty(() => host.cri.removeContainer({ containerId: container }))), { OK: 50 });
  const races = await fifty(() =>
    index++ % 2 === 0 ? host.cri.stopPodSandbox({ podSandboxId: pod }) : host.cri.removePodSandbox({ podSandboxId: pod }),
  );
  assert.deepEqual(codes(races), { OK: 50 });
  assert.equal(host.runtime.containers.size + host.runtime.pods.size, 0);
});

test('pods created and removed at once while containers are made in them leave nothing', async () => {
  await using host = await DaemonUnderTest.start();
  await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      const pod = await host.pod(`p${index}`);
      const work = host.container(pod).then((containerId) => host.cri.startContainer({ containerId }));
      await Promise.allSettled([work, host.cri.removePodSandbox({ podSandboxId: pod })]);
      await host.cri.removePodSandbox({ podSandboxId: pod });
    }),
  );
  assert.equal((await host.cri.listPodSandbox({})).items.length, 0);
  assert.equal((await host.cri.listContainers({})).containers.length, 0);
  assert.equal(host.runtime.containers.size + host.runtime.pods.size, 0);
});
