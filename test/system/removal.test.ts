/** What must be removable whatever stands in the way: a full disk, trees deeper than a path, a supervisor that hangs, a pod that has died. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ContainerState, NamespaceMode, PodSandboxState } from '@berth/cri-api';
import { TestDaemon } from '../src/daemon.ts';
import { createContainer, IMAGE, runContainer, runPod } from '../src/pods.ts';

const MIB = 1024 * 1024;

/** Takes the last byte of the disk below a folder. */
function fill(folder: string): void {
  const file = openSync(join(folder, 'filler'), 'a');
  try {
    for (const piece of [Buffer.alloc(MIB), Buffer.alloc(1)]) while (tryWrite(file, piece));
  } finally {
    closeSync(file);
  }
}

function tryWrite(file: number, piece: Buffer): boolean {
  try {
    return writeSync(file, piece) > 0;
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    return false;
  }
}

/** An image of its own: a root file system of one file. */
async function importImage(daemon: TestDaemon, name: string): Promise<void> {
  const folder = join(daemon.dir, 'image');
  mkdirSync(folder);
  execFileSync('sh', ['-c', 'head -c 2000000 /dev/urandom > file && tar -cf ../image.tar file'], { cwd: folder });
  const archive = readFileSync(join(daemon.dir, 'image.tar'));
  await daemon.client.image.import(
    (async function* () {
      yield archive;
    })(),
    [name],
  );
}

test('the disk of the root folder is full: images, containers and pods can be removed, which makes room', async () => {
  const daemon = TestDaemon.prepare();
  mkdirSync(daemon.root);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=700', 'tmpfs', daemon.root]);
  try {
    await daemon.start();
    const { runtime, image } = daemon.client;
    await importImage(daemon, 'other');
    const [first, second] = [await runPod(daemon), await runPod(daemon)];
    const ended = await runContainer(daemon, first, 'exit 3');
    await ended.exited();
    await runContainer(daemon, second, 'exec sleep 1000');
    const loud = await runContainer(daemon, first, 'dd if=/dev/zero of=/big bs=64k; exec sleep 1000');
    fill(daemon.root);
    await assert.rejects(createContainer(daemon, second, 'true'), { status: 'RESOURCE_EXHAUSTED', code: 'NO_SPACE' });

    await image.removeImage({ image: { image: 'other' } });
    assert.equal((await image.imageStatus({ image: { image: 'other' } })).image, undefined);
    fill(daemon.root);
    await runtime.removeContainer({ containerId: ended.id });
    fill(daemon.root);
    await runtime.stopContainer({ containerId: loud.id, timeout: 0n });
    assert.equal((await loud.status()).exitCode, 137);
    await runtime.removeContainer({ containerId: loud.id });
    fill(daemon.root);
    await runtime.stopPodSandbox({ podSandboxId: first.id });
    await runtime.removePodSandbox({ podSandboxId: first.id });
    fill(daemon.root);
    await runtime.removePodSandbox({ podSandboxId: second.id });
    assert.deepEqual((await runtime.listPodSandbox({})).items, []);

    rmSync(join(daemon.root, 'filler'));
    await daemon.kill();
    await daemon.start();
    const { images } = await daemon.client.image.listImages({});
    assert.ok(images.length === 1 && images[0]?.repoTags.includes(IMAGE), 'the default image alone is left');
    assert.deepEqual((await daemon.client.runtime.listPodSandbox({})).items, []);
  } finally {
    rmSync(join(daemon.root, 'filler'), { force: true });
    await daemon.removeEverything();
    await daemon.stop();
    execFileSync('umount', ['-l', daemon.root]);
    await daemon[Symbol.asyncDispose]();
  }
});

test('a container that has made folders deeper than a path can be long is removed like any other', async () => {
  await using daemon = await TestDaemon.start();
  const pod = await runPod(daemon);
  const container = await runContainer(
    daemon,
    pod,
    // From the innermost one outwards: no path on the way is long.
    'n=$(printf %0200d 0); mkdir $n; for i in $(seq 40); do mkdir outer && mv $n outer && mv outer $n || exit 1; done',
  );
  assert.equal((await container.exited()).exitCode, 0);
  await daemon.client.runtime.removeContainer({ containerId: container.id });
  assert.ok(!existsSync(join(daemon.root, 'containers', container.id)));
});

test('a supervisor that hangs does not hold StopContainer and RemoveContainer up for ever', async () => {
  await using daemon = await TestDaemon.start();
  const pod = await runPod(daemon);
  const container = await runContainer(daemon, pod, 'exec sleep 1000');
  const { shim, init } = await container.pids();
  process.kill(shim, 'SIGSTOP');
  await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 1n });
  const status = await container.status();
  assert.deepEqual([status.state, status.reason, status.exitCode], [ContainerState.CONTAINER_EXITED, 'ShimLost', 255]);
  assert.ok(!existsSync(`/proc/${init}/exe`));
  await daemon.client.runtime.removeContainer({ containerId: container.id });
  assert.ok(!existsSync(`/proc/${shim}/exe`));
});

test('a pod whose shared process namespace has died is not ready any more, and can be replaced', async () => {
  await using daemon = await TestDaemon.start();
  const config = {
    metadata: { name: 'shared', namespace: 'test', uid: 'shared', attempt: 0 },
    linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.POD } } },
  };
  const { podSandboxId: id } = await daemon.client.runtime.runPodSandbox({ config });
  const container = await runContainer(daemon, { id, config }, 'exec sleep 1000', { log: false });
  const state = async () => (await daemon.client.runtime.podSandboxStatus({ podSandboxId: id })).status?.state;
  assert.equal(await state(), PodSandboxState.SANDBOX_READY);
  const { pid } = JSON.parse(readFileSync(join(daemon.state, 'pods', id, 'pause.json'), 'utf8')) as { pid: number };
  process.kill(pid, 'SIGKILL');
  assert.equal((await container.exited()).exitCode, 137);
  const { items } = await daemon.client.runtime.listPodSandbox({ filter: { state: { state: PodSandboxState.SANDBOX_NOTREADY } } });
  assert.deepEqual(
    items.map((item) => item.id),
    [id],
  );
  assert.equal(await state(), PodSandboxState.SANDBOX_NOTREADY);
  await assert.rejects(createContainer(daemon, { id, config }, 'true', { log: false }), /not ready/);
  await daemon.client.runtime.runPodSandbox({ config: { ...config, metadata: { ...config.metadata, attempt: 1 } } });
});
