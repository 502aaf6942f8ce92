import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { CgroupDriver, ContainerState, PodSandboxState, Signal } from '@berth/cri-api';
import { status as grpc, type ServiceError } from '@grpc/grpc-js';
import { DaemonUnderTest } from './testing/daemon-under-test.ts';
import { BerthError } from './util/errors.ts';

/** A matcher for assert.rejects: gRPC code by name, and words of the message. */
const refused =
  (code: keyof typeof grpc, ...words: string[]) =>
  (error: ServiceError) => {
    assert.equal(grpc[error.code], code, error.details);
    for (const word of words) assert.ok(error.details.includes(word), `"${error.details}" lacks "${word}"`);
    return true;
  };

test('Version, Status, RuntimeConfig and UpdateRuntimeConfig answer under both API versions', async () => {
  await using host = await DaemonUnderTest.start();
  const v1 = await host.cri.version();
  assert.deepEqual([v1.version, v1.runtimeName, v1.runtimeVersion, v1.runtimeApiVersion], ['0.1.0', 'berth', '0.1.0', 'v1']);
  const alpha = await host.cri.version({}, { api: 'v1alpha2' });
  assert.equal(alpha.runtimeApiVersion, 'v1alpha2');
  const status = await host.cri.status({ verbose: true });
  assert.deepEqual(
    status.status?.conditions.map((condition) => [condition.type, condition.status]),
    [
      ['RuntimeReady', true],
      ['NetworkReady', false],
    ],
  );
  assert.match(status.status?.conditions[1]?.message ?? '', /host network/);
  assert.equal(JSON.parse(status.info['config'] ?? '{}').streaming.port, 10_350);
  assert.deepEqual(
    status.runtimeHandlers.map((handler) => handler.name),
    ['', 'lcr'],
  );
  assert.deepEqual((await host.cri.status()).info, {});
  assert.equal((await host.cri.runtimeConfig()).linux?.cgroupDriver, CgroupDriver.CGROUPFS);
  await host.cri.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: '10.0.0.0/24' } } });
});

test('what is not built answers UNIMPLEMENTED and names itself', async () => {
  await using host = await DaemonUnderTest.start();
  await assert.rejects(
    host.cri.exec({ containerId: 'x' }),
    refused('UNIMPLEMENTED', 'runtime.v1.RuntimeService/Exec', 'not built'),
  );
  await assert.rejects(host.cri.execSync({}), refused('UNIMPLEMENTED', 'ExecSync'));
  await assert.rejects(host.cri.portForward({}), refused('UNIMPLEMENTED', 'PortForward'));
  await assert.rejects(host.cri.listContainerStats({}), refused('UNIMPLEMENTED', 'ListContainerStats'));
  await assert.rejects(host.cri.checkpointContainer({}), refused('UNIMPLEMENTED', 'CheckpointContainer'));
  await assert.rejects(host.cri.listMetricDescriptors({}, { api: 'v1alpha2' }), refused('UNIMPLEMENTED', 'runtime.v1alpha2'));
  await assert.rejects(host.cri.getContainerEvents({}), refused('UNIMPLEMENTED', 'GetContainerEvents'));
});

test('a pod goes from ready over notready to gone, and shows what it was given', async () => {
  await using host = await DaemonUnderTest.start();
  const before = BigInt(Date.now()) * 1_000_000n;
  const id = await host.pod('web', {
    labels: { app: 'web' },
    annotations: { note: 'ü' },
    hostname: 'h',
    linux: { sysctls: { 'net.a': '1' } },
  });
  assert.match(id, /^[0-9a-f]{64}$/);
  const { status, info, timestamp } = await host.cri.podSandboxStatus({ podSandboxId: id, verbose: true });
  assert.equal(status?.id, id);
  assert.equal(status.state, PodSandboxState.SANDBOX_READY);
  assert.deepEqual(
    [status.metadata?.name, status.metadata?.namespace, status.metadata?.uid, status.metadata?.attempt],
    ['web', 'default', 'uid-web', 0],
  );
  assert.deepEqual([status.labels, status.annotations, status.network?.ip], [{ app: 'web' }, { note: 'ü' }, '']);
  assert.ok(status.createdAt >= before && status.createdAt <= timestamp);
  assert.equal(JSON.parse(info['info'] ?? '{}').netns, `/fake/${id}/net`);

  await host.cri.stopPodSandbox({ podSandboxId: id });
  await host.cri.stopPodSandbox({ podSandboxId: id.slice(0, 12) });
  assert.equal((await host.cri.podSandboxStatus({ podSandboxId: id })).status?.state, PodSandboxState.SANDBOX_NOTREADY);
  await host.cri.removePodSandbox({ podSandboxId: id });
  await host.cri.removePodSandbox({ podSandboxId: id });
  await host.cri.stopPodSandbox({ podSandboxId: id });
  await assert.rejects(host.cri.podSandboxStatus({ podSandboxId: id }), refused('NOT_FOUND', id));
  assert.equal(host.runtime.pods.size, 0);
});

test('what a pod lacks is refused, and names are reserved until the pod is gone', async () => {
  await using host = await DaemonUnderTest.start();
  await assert.rejects(host.cri.runPodSandbox({}), refused('INVALID_ARGUMENT', 'config'));
  await assert.rejects(host.cri.runPodSandbox({ config: {} }), refused('INVALID_ARGUMENT', 'metadata.name'));
  await assert.rejects(
    host.cri.runPodSandbox({ config: { metadata: { name: 'x' } }, runtimeHandler: 'kata' }),
    refused('INVALID_ARGUMENT', 'kata'),
  );
  await assert.rejects(host.cri.stopPodSandbox({}), refused('INVALID_ARGUMENT', 'pod_sandbox_id'));
  const id = await host.pod('one');
  await assert.rejects(host.pod('one'), refused('ALREADY_EXISTS', id));
  await host.cri.removePodSandbox({ podSandboxId: id });
  host.runtime.before = (operation) => {
    if (operation === 'createPod') throw new BerthError('unimplemented', 'HOST_PORT', 'host ports need CNI');
  };
  await assert.rejects(host.pod('one'), refused('UNIMPLEMENTED', 'host ports need CNI'));
  host.runtime.before = () => {};
  await host.pod('one');
  assert.equal((await host.cri.listPodSandbox({})).items.length, 1);
});

test('a container goes through its life, and its status tells it', async () => {
  await using host = await DaemonUnderTest.start();
  const pod = await host.pod();
  const mounts = [{ hostPath: '/h', containerPath: '/c', readonly: true }];
  const more = {
    labels: { a: 'b' },
    annotations: { c: 'd' },
    mounts,
    linux: { resources: { memoryLimitInBytes: 1_000_000n } },
    tty: true,
  };
  const id = await host.container(pod, 'main', more);
  const created = (await host.cri.containerStatus({ containerId: id })).status;
  assert.equal(created?.state, ContainerState.CONTAINER_CREATED);
  assert.deepEqual([created.startedAt, created.finishedAt, created.exitCode, created.reason], [0n, 0n, 0, '']);
  assert.deepEqual(
    [created.metadata?.name, created.image?.image, created.imageRef],
    ['main', 'busybox', `sha256:${'b'.repeat(64)}`],
  );
  assert.deepEqual([created.labels, created.annotations, created.logPath], [{ a: 'b' }, { c: 'd' }, '/fake/logs/main.log']);
  assert.deepEqual([created.mounts[0]?.containerPath, created.mounts[0]?.readonly], ['/c', true]);
  assert.deepEqual([created.user?.linux?.uid, created.user?.linux?.supplementalGroups], [1000n, [1000n, 7n]]);
  assert.equal(created.stopSignal, Signal.SIGTERM);
  assert.equal(created.resources?.linux?.memoryLimitInBytes, 1_000_000n);

  await host.cri.startContainer({ containerId: id.slice(0, 10) });
  const running = await host.cri.containerStatus({ containerId: id, verbose: true });
  assert.equal(running.status?.state, ContainerState.CONTAINER_RUNNING);
  assert.equal(running.status.startedAt, 1_700_000_000_000_000_001n);
  const info = JSON.parse(running.info['info'] ?? '{}');
  assert.deepEqual([info.sandboxID, info.runtimeType, info.pid], [pod, 'lcr', 5_000_000]);
  await assert.rejects(host.cri.startContainer({ containerId: id }), refused('FAILED_PRECONDITION', 'running'));
  await host.cri.updateContainerResources({ containerId: id, linux: { cpuShares: 512n } });
  const limits = (await host.cri.containerStatus({ containerId: id })).status?.resources?.linux;
  assert.deepEqual([limits?.memoryLimitInBytes, limits?.cpuShares], [1_000_000n, 512n]);
  await host.cri.reopenContainerLog({ containerId: id });
  assert.equal(host.logsReopened, 1);

  await host.cri.stopContainer({ containerId: id, timeout: 30n });
  await host.cri.stopContainer({ containerId: id, timeout: 30n });
  assert.deepEqual(host.runtime.containers.get(id)?.signals, [{ signal: 15, everything: false }]);
  const ended = (await host.cri.containerStatus({ containerId: id })).status;
  assert.equal(ended?.state, ContainerState.CONTAINER_EXITED);
  assert.deepEqual([ended.exitCode, ended.reason, ended.finishedAt], [0, 'Completed', 1_700_000_000_000_000_002n]);
  await assert.rejects(host.cri.reopenContainerLog({ containerId: id }), refused('FAILED_PRECONDITION', 'exited'));
  await assert.rejects(host.cri.updateContainerResources({ containerId: id, linux: {} }), refused('FAILED_PRECONDITION', 'exited'));
  await assert.rejects(host.cri.startContainer({ containerId: id }), refused('FAILED_PRECONDITION', 'exited'));

  await host.cri.removeContainer({ containerId: id });
  await host.cri.removeContainer({ containerId: id });
  await host.cri.stopContainer({ containerId: id });
  await assert.rejects(host.cri.containerStatus({ containerId: id }), refused('NOT_FOUND', id));
  assert.equal(host.runtime.containers.size, 0);
  assert.equal(await host.container(pod, 'main').then((next) => next.length), 64);
});

test('how a container ended is shown as its exit code and a reason', async () => {
  await using host = await DaemonUnderTest.start();
  const ends = [
    { code: 3, more: {}, reason: 'Error', message: '' },
    { code: 143, more: {}, reason: 'Error', message: 'killed by signal 15' },
    { code: 137, more: { oom: true }, reason: 'OOMKilled', message: 'killed because it used more memory than its limit' },
    { code: 255, more: { kind: 'unknown', reason: 'monitor lost' } as const, reason: 'Unknown', message: 'monitor lost' },
  ];
  for (const [index, end] of ends.entries()) {
    const { container } = await host.running(`p${index}`);
    await host.runtime.exit(container, end.code, end.more);
    await host.cri.stopContainer({ containerId: container, timeout: 10n });
    const { status } = await host.cri.containerStatus({ containerId: container });
    assert.deepEqual([status?.exitCode, status?.reason, status?.message], [end.code, end.reason, end.message]);
  }
});

test('a start that fails is told to the caller and kept as StartError', async () => {
  await using host = await DaemonUnderTest.start();
  const pod = await host.pod();
  const id = await host.container(pod, 'bad', { command: ['missing'] });
  await assert.rejects(host.cri.startContainer({ containerId: id }), refused('INVALID_ARGUMENT', 'missing: not found'));
  const { status } = await host.cri.containerStatus({ containerId: id });
  assert.equal(status?.state, ContainerState.CONTAINER_EXITED);
  assert.deepEqual([status.exitCode, status.reason], [128, 'StartError']);
  assert.match(status.message, /not found in the container/);
  await host.cri.removeContainer({ containerId: id });
});

test('what a container lacks is refused, and a failed creation leaves nothing', async () => {
  await using host = await DaemonUnderTest.start();
  const pod = await host.pod();
  await assert.rejects(host.cri.createContainer({ podSandboxId: 'f00', config: {} }), refused('NOT_FOUND', 'f00'));
  await assert.rejects(host.cri.createContainer({ podSandboxId: pod }), refused('INVALID_ARGUMENT', 'config'));
  await assert.rejects(
    host.container(pod, 'c', { image: { image: 'nginx' } }),
    refused('NOT_FOUND', 'nginx', 'berth image import'),
  );
  await assert.rejects(host.container(pod, 'c', { image: undefined }), refused('INVALID_ARGUMENT', 'image'));
  await assert.rejects(host.container(pod, ''), refused('INVALID_ARGUMENT', 'metadata.name'));
  await assert.rejects(host.container(pod, 'c', { command: [] }), refused('INVALID_ARGUMENT', 'no command'));
  assert.deepEqual((await host.cri.listContainers({})).containers, []);
  const id = await host.container(pod, 'c');
  await assert.rejects(host.container(pod, 'c'), refused('ALREADY_EXISTS', id));
  await host.cri.stopPodSandbox({ podSandboxId: pod });
  await assert.rejects(host.container(pod, 'd'), refused('FAILED_PRECONDITION', 'not ready'));
  await assert.rejects(host.cri.startContainer({ containerId: id }), refused('FAILED_PRECONDITION', 'not ready'));
});

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

test('Attach is refused in the order of the validation table', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container: plain } = await host.running('plain', { stdin: true });
  const { container: tty } = await host.running('tty', { tty: true, stdin: true });
  const created = await host.container(pod, 'created');
  const all = { stdin: true, stdout: true, stderr: true, tty: false };
  await assert.rejects(host.cri.attach({ ...all }), refused('INVALID_ARGUMENT', 'missing required container_id'));
  await assert.rejects(host.cri.attach({ ...all, containerId: 'f'.repeat(64) }), refused('NOT_FOUND', 'f'.repeat(64)));
  await assert.rejects(host.cri.attach({ ...all, containerId: pod }), refused('NOT_FOUND', pod));
  await assert.rejects(host.cri.attach({ ...all, containerId: created }), refused('FAILED_PRECONDITION', 'created'));
  await assert.rejects(host.cri.attach({ containerId: plain, tty: true, stderr: true }), refused('INVALID_ARGUMENT', 'tty'));
  await assert.rejects(host.cri.attach({ containerId: plain, tty: true }), refused('INVALID_ARGUMENT', 'no tty'));
  await assert.rejects(
    host.cri.attach({ containerId: plain }),
    refused('INVALID_ARGUMENT', 'one of stdin, stdout, and stderr must be set'),
  );
  await assert.rejects(host.cri.attach({ containerId: tty, tty: true, stderr: true }), refused('INVALID_ARGUMENT', 'one of stdin'));
  host.refuseAttach = new BerthError('resource-exhausted', 'TOO_MANY_TICKETS', 'too many attach tickets');
  await assert.rejects(host.cri.attach({ containerId: plain, stdout: true }), refused('RESOURCE_EXHAUSTED', 'too many'));
  host.refuseAttach = undefined;

  assert.equal((await host.cri.attach({ ...all, containerId: plain.slice(0, 13) })).url, 'http://127.0.0.1:0/attach/ticket-1');
  await host.cri.attach({ containerId: tty, stdin: true, stdout: true, stderr: true, tty: true });
  await host.cri.attach({ containerId: tty, stdout: true });
  assert.deepEqual(
    host.issued.map(({ target, streams }) => ({ id: target.id, shim: target.shim !== undefined, ...streams })),
    [
      { id: plain, shim: true, stdin: true, stdout: true, stderr: true, tty: false },
      { id: tty, shim: true, stdin: true, stdout: true, stderr: false, tty: true },
      { id: tty, shim: true, stdin: false, stdout: true, stderr: false, tty: true },
    ],
  );

  await host.runtime.exit(plain, 7);
  await host.cri.stopContainer({ containerId: plain, timeout: 5n });
  await assert.rejects(host.cri.attach({ ...all, containerId: plain }), refused('FAILED_PRECONDITION', 'exited', '7'));
  host.runtime.name = 'kata';
  const { container: other } = await host.running('other');
  await assert.rejects(
    host.cri.attach({ containerId: other }),
    refused('UNIMPLEMENTED', 'kata', 'only LCR containers can be attached'),
  );
});

test('the image calls answer as CRI says', async () => {
  await using host = await DaemonUnderTest.start();
  const list = await host.images.listImages({});
  assert.deepEqual([list.images.length, list.images[0]?.repoTags], [1, ['docker.io/library/busybox:latest']]);
  assert.equal((await host.images.listImages({ filter: { image: { image: 'nginx' } } })).images.length, 0);
  const { image } = await host.images.imageStatus({ image: { image: 'busybox' } });
  assert.deepEqual([image?.size, image?.uid?.value, image?.username], [4_200_000n, 1000n, '']);
  assert.equal((await host.images.imageStatus({ image: { image: 'nginx' } })).image, undefined);
  await assert.rejects(host.images.imageStatus({}), refused('INVALID_ARGUMENT', 'image'));
  assert.equal((await host.images.pullImage({ image: { image: 'busybox' } })).imageRef, `sha256:${'b'.repeat(64)}`);
  await assert.rejects(
    host.images.pullImage({ image: { image: 'nginx' } }),
    refused('UNIMPLEMENTED', 'nginx', 'berth image import'),
  );
  const usage = (await host.images.imageFsInfo({})).imageFilesystems[0];
  assert.deepEqual(
    [usage?.fsId?.mountpoint, usage?.usedBytes?.value, usage?.inodesUsed?.value],
    ['/fake/images', 4_200_000n, 400n],
  );
  const pod = await host.pod();
  const container = await host.container(pod);
  await assert.rejects(host.images.removeImage({ image: { image: 'busybox' } }), refused('FAILED_PRECONDITION', 'in use'));
  await host.cri.removeContainer({ containerId: container });
  await host.images.removeImage({ image: { image: 'busybox' } });
  await host.images.removeImage({ image: { image: 'busybox' } });
  assert.equal((await host.images.listImages({})).images.length, 0);
});

test('StopContainer waits for the grace period, then kills everything; others are not held up meanwhile', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running('stubborn', { command: ['ignore-signals'] });
  const began = performance.now();
  const stop = host.cri.stopContainer({ containerId: container, timeout: 2n });
  const second = host.cri.stopContainer({ containerId: container, timeout: 60n });
  while (host.runtime.containers.get(container)?.signals.length === 0) await new Promise(setImmediate);
  assert.equal((await host.cri.containerStatus({ containerId: container })).status?.state, ContainerState.CONTAINER_RUNNING);
  await host.cri.listContainers({});
  await host.cri.attach({ containerId: container, stdout: true });
  assert.ok(performance.now() - began < 1_900, 'List, Status and Attach did not wait for the stop');
  await stop;
  assert.ok(performance.now() - began >= 1_990, 'the grace period was kept');
  await second;
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

test('the socket belongs to owner and group; a stale one is replaced, a live one and a file are refused', async () => {
  await using host = await DaemonUnderTest.start();
  assert.equal((await stat(host.socket)).mode & 0o777, 0o660);
  await using other = await DaemonUnderTest.host();
  const live = createServer().listen(other.socket);
  await assert.rejects(other.boot(), { code: 'SOCKET_IN_USE' });
  await new Promise((resolve) => live.close(resolve));
  await writeFile(other.socket, 'in the way');
  await assert.rejects(other.boot(), { code: 'SOCKET_IN_USE', message: /not a socket/ });
});

test('two daemons never share a root folder; the lock of a dead one is taken over', async () => {
  await using host = await DaemonUnderTest.start();
  await assert.rejects(host.boot(), { code: 'ROOT_LOCKED', message: new RegExp(`pid ${process.pid}`) });
  assert.equal((await host.cri.version()).runtimeName, 'berth');
  await host.stop();
  await writeFile(join(host.dir, 'root', 'berthd.lock'), `${process.pid} 1 some-other-boot\n`);
  await host.boot();
  assert.equal((await host.cri.version()).runtimeName, 'berth');
});

test('the host is released only when no pod is left', async () => {
  await using host = await DaemonUnderTest.start();
  const pod = await host.pod();
  await host.stop();
  assert.equal(host.hostReleased, 0);
  await host.boot();
  await host.cri.removePodSandbox({ podSandboxId: pod });
  await host.stop();
  assert.equal(host.hostReleased, 1);
});
