import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerState, PodSandboxState } from '@berth/cri-api';
import { DaemonUnderTest, refused } from '../testing/daemon-under-test.ts';

test('List filters by id prefix, state, pod and labels', async () => {
  await using host = await DaemonUnderTest.start();
  const one = await host.running('one', { labels: { app: 'a', tier: 'x' } });
  const two = await host.pod('two', { labels: { team: 't' } });
  const created = await host.container(two, 'c', { labels: { app: 'a' } });
  const ids = async (filter: object) => (await host.cri.listContainers({ filter })).containers.map((container) => container.id);
  assert.deepEqual(await ids({}), [one.container, created]);
  assert.deepEqual(await ids({ id: created.slice(0, 20) }), [created]);
  assert.deepEqual(await ids({ id: 'nothing' }), []);
  assert.deepEqual(await ids({ podSandboxId: two }), [created]);
  assert.deepEqual(await ids({ state: { state: ContainerState.CONTAINER_RUNNING } }), [one.container]);
  assert.deepEqual(await ids({ state: { state: ContainerState.CONTAINER_CREATED } }), [created]);
  assert.deepEqual(await ids({ labelSelector: { app: 'a' } }), [one.container, created]);
  assert.deepEqual(await ids({ labelSelector: { app: 'a', tier: 'x' } }), [one.container]);
  assert.deepEqual(await ids({ labelSelector: { toString: 'x' } }), []);
  const pods = async (filter: object) => (await host.cri.listPodSandbox({ filter })).items.map((pod) => pod.id);
  assert.deepEqual(await pods({}), [one.pod, two]);
  assert.deepEqual(await pods({ labelSelector: { team: 't' } }), [two]);
  await host.cri.stopPodSandbox({ podSandboxId: one.pod });
  assert.deepEqual(await pods({ state: { state: PodSandboxState.SANDBOX_READY } }), [two]);
  assert.deepEqual(await pods({ state: { state: PodSandboxState.SANDBOX_NOTREADY } }), [one.pod]);
});

test('an id prefix is accepted when it is unique and refused when it is not', async () => {
  await using host = await DaemonUnderTest.start();
  const ids = await Promise.all(Array.from({ length: 17 }, (_, index) => host.pod(`p${index}`)));
  const digits = ids.map((id) => id.slice(0, 1));
  const twice = digits.find((digit, index) => digits.indexOf(digit) !== index);
  assert.ok(twice !== undefined, 'of 17 ids two begin with the same of 16 digits');
  await assert.rejects(host.cri.podSandboxStatus({ podSandboxId: twice }), refused('INVALID_ARGUMENT', 'several'));
});
