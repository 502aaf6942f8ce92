import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState, PodSandboxState } from '@berth/cri-api';
import { DaemonUnderTest, verbose } from './testing/daemon-under-test.ts';
import type { RecordFile, Records } from './util/records.ts';

const statusOf = async (host: DaemonUnderTest, containerId: string) => {
  const { status } = await host.cri.containerStatus({ containerId });
  assert.ok(status);
  return status;
};

test('a daemon that is stopped and started shows everything as it was', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running('pod', { labels: { a: 'b' }, linux: { resources: { cpuShares: 100n } } });
  await host.cri.updateContainerResources({ containerId: container, linux: { memoryLimitInBytes: 5_000_000n } });
  const created = await host.container(pod, 'created');
  const failed = await host.container(pod, 'failed', { command: ['missing'] });
  await assert.rejects(host.cri.startContainer({ containerId: failed }));
  const ended = await host.container(pod, 'ended');
  await host.cri.startContainer({ containerId: ended });
  await host.runtime.exit(ended, 9);
  await host.cri.stopContainer({ containerId: ended, timeout: 5n });
  const stopped = await host.pod('stopped');
  await host.cri.stopPodSandbox({ podSandboxId: stopped });

  const everything = async () => ({
    pods: (await host.cri.listPodSandbox({})).items.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    containers: await Promise.all([container, created, failed, ended].map((id) => statusOf(host, id))),
  });
  const before = await everything();
  assert.equal(before.containers[0]?.state, ContainerState.CONTAINER_RUNNING);
  assert.equal(before.containers[0]?.resources?.linux?.memoryLimitInBytes, 5_000_000n);
  await host.restart();
  assert.deepEqual(await everything(), before);

  await assert.rejects(host.pod('pod'), /taken by pod/);
  await assert.rejects(host.container(pod, 'created'), /taken by container/);
  await host.cri.attach({ containerId: container, stdout: true });
  await host.cri.startContainer({ containerId: created });
  await host.cri.stopContainer({ containerId: container, timeout: 5n });
  assert.equal((await statusOf(host, container)).exitCode, 0);
  await host.cri.removePodSandbox({ podSandboxId: pod });
  assert.equal(host.runtime.containers.size, 0);
});

test('a container that ended while no daemon was there shows its true exit', async () => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running();
  await host.stop();
  await host.runtime.exit(container, 42, { finishedAtNs: 1_700_000_000_123_456_789n });
  host.runtime.daemonDied();
  await host.boot();
  const status = await statusOf(host, container);
  assert.deepEqual(
    [status.state, status.exitCode, status.reason, status.finishedAt],
    [ContainerState.CONTAINER_EXITED, 42, 'Error', 1_700_000_000_123_456_789n],
  );
});

test('an exited container whose shim still waits is let go after the restart', async () => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running();
  await host.stop();
  await host.runtime.exit(container, 1);
  await host.boot();
  await host.cri.stopContainer({ containerId: container, timeout: 5n });
  assert.equal((await statusOf(host, container)).exitCode, 1);
  // The status may say so a moment before the shim is told.
  for (let i = 0; i < 500 && host.runtime.containers.get(container)?.shimDead !== true; i++) await sleep(10);
  assert.equal(host.runtime.containers.get(container)?.shimDead, true);
});

test('a container whose shim was killed is killed and shown as lost, alone', async () => {
  await using host = await DaemonUnderTest.start();
  const victim = await host.running('victim');
  const other = await host.running('other');
  host.runtime.killShim(victim.container);
  await host.cri.stopContainer({ containerId: victim.container, timeout: 30n });
  const status = await statusOf(host, victim.container);
  assert.deepEqual([status.state, status.exitCode, status.reason], [ContainerState.CONTAINER_EXITED, 255, 'ShimLost']);
  assert.equal(host.runtime.containers.get(victim.container)?.leftovers, false);
  assert.equal((await statusOf(host, other.container)).state, ContainerState.CONTAINER_RUNNING);

  await host.stop();
  host.runtime.killShim(other.container);
  await host.boot();
  const late = await statusOf(host, other.container);
  assert.deepEqual([late.state, late.exitCode, late.reason], [ContainerState.CONTAINER_EXITED, 255, 'ShimLost']);
});

test('a connection that breaks is made again, and the true exit is seen', async () => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running();
  const first = host.runtime.containers.get(container)?.shim;
  host.runtime.dropConnection(container);
  while (host.runtime.containers.get(container)?.shim === undefined) await new Promise(setImmediate);
  assert.notEqual(host.runtime.containers.get(container)?.shim, first);
  assert.equal((await statusOf(host, container)).state, ContainerState.CONTAINER_RUNNING);
  await host.runtime.exit(container, 6);
  await host.cri.stopContainer({ containerId: container, timeout: 5n });
  assert.equal((await statusOf(host, container)).exitCode, 6);
});

test('a container whose processes cannot be killed is unknown until they can', async () => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running();
  host.runtime.before = (operation) => {
    if (operation === 'killLeftovers') throw new Error('processes in D state');
  };
  host.runtime.killShim(container);
  while ((await statusOf(host, container)).state !== ContainerState.CONTAINER_UNKNOWN)
    await new Promise((resolve) => setTimeout(resolve, 50));
  await assert.rejects(host.cri.stopContainer({ containerId: container, timeout: 1n }), /do not end on SIGKILL/);
  host.runtime.before = () => {};
  await host.cri.stopContainer({ containerId: container, timeout: 1n });
  assert.equal((await statusOf(host, container)).reason, 'ShimLost');
});

const shows = async (host: DaemonUnderTest, container: string, state: ContainerState) => {
  while ((await statusOf(host, container)).state !== state) await sleep(10);
};

/** The daemon dies, and this is what it has noted of the container. */
async function dieHaving(host: DaemonUnderTest, container: string, noted: object): Promise<void> {
  await host.stop();
  const path = join(host.dir, 'root', 'containers', container, 'status.json');
  const { pid: _pid, startedAtNs: _started, ...status } = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await writeFile(path, JSON.stringify({ ...status, ...noted }));
}

for (const [who, noted] of [
  ['a daemon that died in its start', { state: 'starting' }],
  ['a daemon of before, which took it for running', { state: 'running', pid: 0, startedAtNs: '0' }],
] as const) {
  test(`a start of ${who} is waited for: no process is noted before there is one`, async () => {
    await using host = await DaemonUnderTest.start();
    const { container } = await host.running();
    const real = host.runtime.containers.get(container);
    assert.ok(real);
    const { pid } = real;
    await dieHaving(host, container, noted);
    // As shims of before answer while LXC works.
    real.pid = 0;
    for (let boot = 0; boot < 2; boot += 1) {
      await host.boot();
      assert.equal((await statusOf(host, container)).state, ContainerState.CONTAINER_CREATED);
      if (boot === 0) await host.stop();
    }
    real.pid = pid;
    await shows(host, container, ContainerState.CONTAINER_RUNNING);
    await host.restart();
    const { state, startedAt } = await statusOf(host, container);
    assert.deepEqual([state, startedAt > 0n, real.state], [ContainerState.CONTAINER_RUNNING, true, 'running']);
    const { info } = await host.cri.containerStatus({ containerId: container, verbose: true });
    assert.equal(verbose(info)['pid'], pid);
  });
}

test('a start that is given up is ended with its shim', async () => {
  await using host = await DaemonUnderTest.start();
  const { container } = await host.running();
  await dieHaving(host, container, { state: 'starting' });
  const real = host.runtime.containers.get(container);
  assert.ok(real);
  real.shimDead = true;
  const operations: string[] = [];
  host.runtime.before = (operation, id) => void (id === container && operations.push(operation));
  await host.boot();
  await shows(host, container, ContainerState.CONTAINER_EXITED);
  const { exitCode, reason } = await statusOf(host, container);
  assert.deepEqual([exitCode, reason, operations[0], real.state], [128, 'StartError', 'abandonStart', 'ended']);
});

test('after a reboot pods are not ready and containers have ended', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running('one');
  const created = await host.container(pod, 'created');
  const recorded = await host.running('two');
  await host.stop();
  await host.runtime.exit(recorded.container, 3);
  // What ran is gone; the exit record of `container` was never written.
  for (const each of host.runtime.containers.values()) each.shimDead = true;
  await rm(join(host.dir, 'state'), { recursive: true });
  host.bootId = 'boot-2';
  await host.boot();
  assert.deepEqual(
    (await host.cri.listPodSandbox({})).items.map((each) => each.state),
    [PodSandboxState.SANDBOX_NOTREADY, PodSandboxState.SANDBOX_NOTREADY],
  );
  for (const id of [container, created]) {
    const status = await statusOf(host, id);
    assert.deepEqual([status.state, status.exitCode, status.reason], [ContainerState.CONTAINER_EXITED, 255, 'Unknown']);
    assert.match(status.message, /restarted/);
  }
  assert.deepEqual(
    [(await statusOf(host, recorded.container)).exitCode, (await statusOf(host, recorded.container)).reason],
    [3, 'Error'],
  );
  await host.cri.removePodSandbox({ podSandboxId: pod });
  await host.restart();
  assert.equal((await statusOf(host, recorded.container)).exitCode, 3);
});

test('a pod whose namespaces are gone within the same boot is not ready, others are', async () => {
  await using host = await DaemonUnderTest.start();
  const gone = await host.pod('gone');
  const stands = await host.pod('stands');
  await host.stop();
  host.runtime.pods.delete(gone);
  await host.boot();
  const states = new Map((await host.cri.listPodSandbox({})).items.map(({ id, state }) => [id, state]));
  assert.deepEqual([states.get(gone), states.get(stands)], [PodSandboxState.SANDBOX_NOTREADY, PodSandboxState.SANDBOX_READY]);
});

test('containers that still run in such a pod have ended before what they use is taken away', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running();
  await host.stop();
  host.runtime.pods.delete(pod);
  const left: string[] = [];
  host.runtime.before = (operation) => {
    if (operation === 'removePod') left.push(host.runtime.containers.get(container)?.state ?? 'gone');
  };
  await host.boot();
  const { items } = await host.cri.listPodSandbox({});
  assert.equal(items[0]?.state, PodSandboxState.SANDBOX_NOTREADY);
  await host.cri.stopPodSandbox({ podSandboxId: pod });
  assert.deepEqual(left, ['ended']);
  assert.equal((await statusOf(host, container)).state, ContainerState.CONTAINER_EXITED);
});

test('folders without a usable record are cleaned up', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running();
  await host.stop();
  const folder = (kind: string, digit: string) => join(host.dir, 'root', kind, digit.repeat(64));
  for (const kind of ['pods', 'containers']) {
    await mkdir(folder(kind, '1'));
    await mkdir(folder(kind, '2'));
    await writeFile(join(folder(kind, '2'), 'record.json'), '{"id":');
    await writeFile(join(folder(kind, '2'), 'status.json'), '');
    await mkdir(folder(kind, '3'));
    await writeFile(join(folder(kind, '3'), 'record.json'), '{"id":"someone else"}');
  }
  await host.boot();
  assert.deepEqual(await readdir(join(host.dir, 'root', 'pods')), [pod]);
  assert.deepEqual(await readdir(join(host.dir, 'root', 'containers')), [container]);
  assert.equal((await statusOf(host, container)).state, ContainerState.CONTAINER_RUNNING);
});

/** The daemon dies at one operation: that one is left undone or half done, and nothing happens any more. */
class Death {
  /** Operations so far. */
  count = 0;
  readonly #at: number;
  readonly #half: boolean;

  constructor(at: number, half: boolean) {
    this.#at = at;
    this.#half = half;
  }

  get dead(): boolean {
    return this.count >= this.#at;
  }

  /** Counts an operation; throws from the deadly one on. `leaveHalf` is what the deadly one leaves behind. */
  async step(leaveHalf: () => Promise<unknown> = async () => {}): Promise<void> {
    const before = this.dead;
    if (!before) this.count++;
    if (!this.dead) return;
    if (!before && this.#half) await leaveHalf();
    throw new Error('the daemon is dead');
  }

  wrap(records: Records, dir: string): Records {
    const path = (id: string, file: string) => join(dir, id, file);
    return {
      list: () => records.list(),
      read: (id, file) => records.read(id, file),
      create: async (id, record) => {
        await this.step(() => mkdir(join(dir, id), { recursive: true }));
        await records.create(id, record);
      },
      sync: (id) => records.sync(id),
      write: async (id: string, file: RecordFile, value, durable) => {
        await this.step(() => writeFile(path(id, `${file}.json.1.tmp`), '{"half'));
        await records.write(id, file, value, durable);
      },
      remove: async (id) => {
        await this.step(() => rm(path(id, 'record.json'), { force: true }));
        await records.remove(id);
      },
    };
  }
}

/** A whole life; every call may fail because the daemon has died. */
async function wholeLife(host: DaemonUnderTest): Promise<void> {
  const pod = await host.pod('life');
  const one = await host.container(pod, 'one');
  await host.cri.startContainer({ containerId: one });
  const two = await host.container(pod, 'two');
  await host.cri.startContainer({ containerId: two });
  await host.cri.updateContainerResources({ containerId: two, linux: { cpuShares: 5n } });
  await host.cri.stopContainer({ containerId: one, timeout: 5n });
  await host.cri.removeContainer({ containerId: one });
  const bad = await host.container(pod, 'bad', { command: ['missing'] });
  await host.cri.startContainer({ containerId: bad }).catch(() => {});
  await host.cri.stopPodSandbox({ podSandboxId: pod });
  await host.cri.removePodSandbox({ podSandboxId: pod });
}

/** What must hold after a recovery, whatever happened before. */
async function checkConsistent(host: DaemonUnderTest): Promise<void> {
  const pods = (await host.cri.listPodSandbox({})).items;
  const { containers } = await host.cri.listContainers({});
  const ready = pods.filter((pod) => pod.state === PodSandboxState.SANDBOX_READY).map((pod) => pod.id);
  for (const id of host.runtime.pods.keys()) assert.ok(ready.includes(id), 'a pod of the runtime that nobody knows');
  assert.deepEqual((await readdir(join(host.dir, 'root', 'pods'))).toSorted(), pods.map((pod) => pod.id).toSorted());
  assert.deepEqual(
    (await readdir(join(host.dir, 'root', 'containers'))).toSorted(),
    containers.map((container) => container.id).toSorted(),
  );
  for (const id of host.runtime.containers.keys())
    assert.ok(
      containers.some((container) => container.id === id),
      'a container of the runtime that nobody knows',
    );
  for (const { id, state } of containers) {
    assert.equal(
      state === ContainerState.CONTAINER_RUNNING,
      host.runtime.containers.get(id)?.state === 'running',
      'what runs is shown as running, and nothing else',
    );
    assert.notEqual(state, ContainerState.CONTAINER_UNKNOWN);
    const { info } = await host.cri.containerStatus({ containerId: id, verbose: true });
    assert.equal(verbose(info)['removing'], false, 'a removal that had begun is finished');
  }
}

async function dieAt(at: number, half: boolean): Promise<boolean> {
  await using host = await DaemonUnderTest.host();
  const death = new Death(at, half);
  const dirs = ['containers', 'pods'];
  host.wrapRecords = (records) => death.wrap(records, join(host.dir, 'root', dirs.shift() ?? ''));
  host.runtime.before = () => death.step();
  await host.boot();
  await wholeLife(host).catch(() => {});
  const died = death.dead;
  await host.stop();
  host.runtime.before = () => {};
  host.wrapRecords = (records) => records;
  await host.boot();
  try {
    await checkConsistent(host);
    for (const { id } of (await host.cri.listPodSandbox({})).items) await host.cri.removePodSandbox({ podSandboxId: id });
    assert.equal((await host.cri.listContainers({})).containers.length, 0);
    assert.equal(host.runtime.pods.size + host.runtime.containers.size, 0);
    await host.pod('life');
  } catch (cause) {
    throw new Error(`after a death at operation ${at}${half ? ', half done' : ''}`, { cause });
  }
  return died;
}

/** More operations than a whole life has: the loop ends by itself, this is against a loop that does not. */
const MOST_OPERATIONS = 200;

for (const half of [false, true]) {
  test(`a daemon that dies at any operation${half ? ', which is left half done,' : ''} leaves what the next one puts in order`, async () => {
    let at = 1;
    while (await dieAt(at, half)) {
      at++;
      assert.ok(at < MOST_OPERATIONS);
    }
    assert.ok(at > 25, `a whole life has more operations than ${at}`);
  });
}
