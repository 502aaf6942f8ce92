import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerState } from '@berth/cri-api';
import { ShimLost } from '../stdio/shim.ts';
import { DaemonUnderTest, refused } from '../testing/daemon-under-test.ts';
import { FakeShim } from '../testing/fake-shim.ts';

test('StopContainer waits for the grace period, then kills everything; others are not held up meanwhile', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running('stubborn', { command: ['ignore-signals'] });
  let over = false;
  const first = host.cri.stopContainer({ containerId: container, timeout: 30n }).then(() => {
    over = true;
  });
  while (host.runtime.containers.get(container)?.signals.length === 0) await new Promise(setImmediate);
  assert.equal((await host.cri.containerStatus({ containerId: container })).status?.state, ContainerState.CONTAINER_RUNNING);
  await host.cri.listContainers({});
  await host.cri.attach({ containerId: container, stdout: true });
  assert.equal(over, false, 'List, Status and Attach did not wait for the stop');
  const began = performance.now();
  await host.cri.stopContainer({ containerId: container, timeout: 2n });
  assert.ok(performance.now() - began >= 1_990, 'the grace period was kept');
  await first;
  assert.deepEqual(host.runtime.containers.get(container)?.signals, [
    { signal: 15, everything: false },
    { signal: 9, everything: true },
  ]);
  assert.equal((await host.cri.containerStatus({ containerId: container })).status?.exitCode, 137);
  await host.cri.removePodSandbox({ podSandboxId: pod });
});

test('a later StopContainer with a shorter grace period is not held up by an earlier one, nor is RemoveContainer', async () => {
  await using host = await DaemonUnderTest.start();
  const one = await host.running('one', { command: ['ignore-signals'] });
  const long = host.cri.stopContainer({ containerId: one.container, timeout: 600n });
  await host.cri.stopContainer({ containerId: one.container, timeout: 0n });
  await long;
  const two = await host.running('two', { command: ['ignore-signals'] });
  const longer = host.cri.stopContainer({ containerId: two.container, timeout: 600n });
  while (host.runtime.containers.get(two.container)?.signals.length === 0) await new Promise(setImmediate);
  await host.cri.removeContainer({ containerId: two.container });
  await longer;
  await assert.rejects(host.cri.containerStatus({ containerId: two.container }), refused('NOT_FOUND'));
});

test('a stop signal that was not sent, as the connection to the shim broke, is sent by the next call', async (t) => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running('polite');
  t.mock.method(FakeShim.prototype, 'signal', async () => await Promise.reject(new ShimLost('the connection has ended')), {
    times: 1,
  });
  await assert.rejects(host.cri.stopContainer({ containerId: container, timeout: 600n }, { deadline: 300 }));
  assert.deepEqual(host.runtime.containers.get(container)?.signals, []);
  await host.cri.stopContainer({ containerId: container, timeout: 600n });
  assert.deepEqual(host.runtime.containers.get(container)?.signals, [{ signal: 15, everything: false }]);
});

test('a client whose deadline is over stops waiting; the container stays as it is', async () => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running('slow', { command: ['ignore-signals'] });
  await assert.rejects(
    host.cri.stopContainer({ containerId: container, timeout: 600n }, { deadline: 300 }),
    refused('DEADLINE_EXCEEDED'),
  );
  assert.equal((await host.cri.containerStatus({ containerId: container })).status?.state, ContainerState.CONTAINER_RUNNING);
  await host.cri.removeContainer({ containerId: container });
});
