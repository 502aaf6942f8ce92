import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CgroupDriver, ContainerState, PodSandboxState, Signal } from '@berth/cri-api';
import { DaemonUnderTest, refused, verbose } from '../testing/daemon-under-test.ts';
import { BerthError } from '../util/errors.ts';

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
  assert.equal(verbose(status.info, 'config')['root'], `${host.dir}/root`);
  assert.deepEqual(
    status.runtimeHandlers.map((handler) => handler.name),
    ['', 'lcr'],
  );
  assert.deepEqual((await host.cri.status()).info, {});
  assert.equal((await host.cri.runtimeConfig()).linux?.cgroupDriver, CgroupDriver.CGROUPFS);
  await host.cri.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: '10.0.0.0/24' } } });
});

test('without LXC the runtime is not ready, and Status says why', async () => {
  await using host = await DaemonUnderTest.start();
  host.runtime.before = (operation) => {
    if (operation === 'version') throw new BerthError('internal', 'RUNTIME_FAILED', 'cannot run /nope: spawn /nope ENOENT');
  };
  for (const asked of [{}, { verbose: true }]) {
    const { status, info } = await host.cri.status(asked);
    assert.deepEqual(
      status?.conditions.map(({ type, status: ready, reason, message }) => [type, ready, reason, message]).slice(0, 1),
      [['RuntimeReady', false, 'LxcUnusable', 'cannot run /nope: spawn /nope ENOENT']],
    );
    if (asked.verbose === true) assert.equal(verbose(info, 'version')['runtimeVersion'], undefined);
  }
  host.runtime.before = () => {};
  assert.equal((await host.cri.status()).status?.conditions[0]?.status, true, 'it is looked at again');
});

test('what is not built answers UNIMPLEMENTED and names itself', async () => {
  await using host = await DaemonUnderTest.start();
  await assert.rejects(
    host.cri.checkpointContainer({}),
    refused('UNIMPLEMENTED', 'runtime.v1.RuntimeService/CheckpointContainer', 'not built'),
  );
  await assert.rejects(host.cri.listContainerStats({}), refused('UNIMPLEMENTED', 'ListContainerStats'));
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
  assert.equal(verbose(info)['netns'], `/fake/${id}/net`);

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
  const info = verbose(running.info);
  assert.deepEqual([info['sandboxID'], info['runtimeType'], info['pid']], [pod, 'lcr', 5_000_000]);
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
  await assert.rejects(
    host.cri.reopenContainerLog({ containerId: id }),
    refused('FAILED_PRECONDITION', 'is not running: exited with code 0'),
  );
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
