/** The daemon is killed at many moments of an import, of exec sessions and of port-forwards at once: nothing is half, nothing is left, all goes on. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState, NamespaceMode } from '@berth/cri-api';
import { dockerArchive, tar } from '../../packages/daemon/src/image/test-archives.ts';
import { AttachClient } from '../src/attach.ts';
import { berth } from '../src/berth.ts';
import { census, difference } from '../src/census.ts';
import { TestDaemon } from '../src/daemon.ts';
import { type Pod, runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { ForwardClient, PodServer, PORTS } from '../src/port-forward.ts';
import { eventually, listProcesses } from '../src/processes.ts';

const LAYERS = 3;
const FILES = 200;
const IMAGE = 'sweep.example/app:1';
/** What a forwarded connection sends at once, and how often. */
const PIECE = Buffer.alloc(256 * 1024, 'forwarded ');
const PIECES = 20;
/** Exec sessions that are being made and ended all the time, calls of ExecSync, and forwarded connections. */
const LANES = 2;
/**
 * When to kill: once the import has unpacked so many layers, and a moment later, ms. Exec sessions and forwards are at any point of theirs
 * then. The last ones are for the commit: layers forced onto the disk, the list of images replaced, the answer.
 */
const MOMENTS: readonly (readonly [layers: number, ms: number])[] = [
  ...[100, 200, 300].map((ms) => [0, ms] as const),
  ...[1, 2].flatMap((layers) => [0, 40, 80].map((ms) => [layers, ms] as const)),
  ...[0, 15, 30, 60, 120].map((ms) => [LAYERS, ms] as const),
  // More than it has: right after the answer.
  [LAYERS + 1, 0],
];

const contentOf = (layer: number, file: number): string => `layer ${layer}, file ${file}\n`.repeat(200);

const archive = dockerArchive({
  layers: Array.from({ length: LAYERS }, (_, layer) =>
    tar(...Array.from({ length: FILES }, (_unused, file) => ({ path: `${layer}/${file}`, data: contentOf(layer, file) }))),
  ),
});

/** Everything in a container's cgroups but what was there before, and what stands outside for it: zombies count. */
function strangers(daemon: TestDaemon, container: TestContainer, known: ReadonlySet<number>): string[] {
  return listProcesses()
    .filter(({ pid, command }) => !known.has(pid) && (command.includes(daemon.state) || cgroupOf(pid).includes(container.id)))
    .map(({ pid, state, command }) => `${pid} ${state} ${command}`);
}

function cgroupOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return '';
  }
}

/** Keeps a daemon busy until it is killed; what its clients meet then is theirs. */
class Load {
  /** What has been done so far, by kind. */
  readonly done = { execs: 0, calls: 0, forwarded: 0 };
  readonly #daemon: TestDaemon;
  readonly #container: TestContainer;
  readonly #pod: Pod;
  readonly #clients: Disposable[] = [];
  readonly #lanes: Promise<void>[] = [];
  #over = false;

  constructor(daemon: TestDaemon, container: TestContainer, pod: Pod) {
    this.#daemon = daemon;
    this.#container = container;
    this.#pod = pod;
    // Programs that run when the kill comes: silent ones with children, and one under output that nobody reads to the end.
    this.#lane(async () => void (await this.#exec('sleep 1000 & sleep 1001; true')), false);
    this.#lane(async () => (await this.#exec('cat /dev/zero')).pause(), false);
    for (let i = 0; i < LANES; i += 1) {
      this.#lane(async () => {
        const client = await this.#exec('echo x; exit 3');
        await client.ended();
        this.done.execs += 1;
      });
      this.#lane(async () => {
        await daemon.client.runtime.execSync({ containerId: container.id, cmd: ['sh', '-c', 'sleep 0.05; true'], timeout: 60n });
        this.done.calls += 1;
      });
      this.#lane(async () => await this.#forward());
    }
  }

  /** Once the daemon is dead: waits until every client has noticed. */
  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#lanes);
    for (const client of this.#clients) client[Symbol.dispose]();
  }

  /** Does something again and again until it fails, as it does when the daemon is gone. */
  #lane(action: () => Promise<void>, again = true): void {
    const run = async (): Promise<void> => {
      do await action();
      while (again && !this.#over);
    };
    this.#lanes.push(run().catch(() => {}));
  }

  async #exec(script: string): Promise<AttachClient> {
    const cmd = ['sh', '-c', script];
    const { url } = await this.#daemon.client.runtime.exec({ containerId: this.#container.id, cmd, stdout: true, stderr: true });
    const client = await AttachClient.open(url);
    this.#clients.push(client);
    return client;
  }

  async #forward(): Promise<void> {
    const client = await ForwardClient.open(this.#daemon, this.#pod.id, PORTS.echo);
    this.#clients.push(client);
    let sent = 0;
    for (let i = 0; i < PIECES; i += 1) {
      if (client.closed !== undefined) throw new Error('the daemon is gone');
      await client.send(PIECE);
      sent += PIECE.length;
      // There and back, so that the import is not starved.
      await eventually('the echo', () => client.bytes >= sent || client.closed !== undefined);
      this.done.forwarded += PIECE.length;
    }
    client.close();
    await client.ended();
  }
}

/** The image is not there, or is there as a whole; gives whether it is. */
async function imageIsWhole(daemon: TestDaemon): Promise<boolean> {
  const { images } = await daemon.client.image.listImages({});
  const found = images.filter(({ repoTags }) => repoTags.includes(IMAGE));
  assert.ok(found.length <= 1);
  const layers = readdirSync(join(daemon.root, 'images/layers'));
  assert.equal(layers.length, images.length === 1 ? 1 : 1 + LAYERS, 'layers are those of the images that are listed');
  if (found.length === 0) return false;
  for (let layer = 0; layer < LAYERS; layer += 1) {
    const [directory = ''] = layers.filter((name) => readdirSync(join(daemon.root, 'images/layers', name)).includes(String(layer)));
    const path = join(daemon.root, 'images/layers', directory, String(layer));
    assert.equal(readdirSync(path).length, FILES);
    for (let file = 0; file < FILES; file += 1)
      assert.equal(readFileSync(join(path, String(file)), 'utf8'), contentOf(layer, file));
  }
  return true;
}

/** One of each, as if nothing had been. */
async function worksAnew(daemon: TestDaemon, container: TestContainer, pod: Pod): Promise<void> {
  const cmd = ['sh', '-c', 'echo anew; exit 3'];
  const answer = await daemon.client.runtime.execSync({ containerId: container.id, cmd, timeout: 60n });
  assert.deepEqual([Buffer.from(answer.stdout).toString(), answer.exitCode], ['anew\n', 3]);
  using session = await AttachClient.open((await daemon.client.runtime.exec({ containerId: container.id, cmd, stdout: true })).url);
  const status = await session.ended();
  assert.equal(session.stdout.text(), 'anew\n');
  assert.equal(status?.status === 'Failure' && status.reason, 'NonZeroExitCode');
  using forward = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  await forward.send('anew');
  await forward.came(4);
  assert.equal(forward.text, 'anew');
}

/** Waits until the import has unpacked so many layers, or is over. */
async function unpacked(daemon: TestDaemon, layers: number, importing: Promise<unknown>): Promise<void> {
  let over = false;
  void importing.then(() => {
    over = true;
  });
  while (!over && readdirSync(join(daemon.root, 'images/layers')).length < 1 + layers) await sleep(1);
}

test(`${MOMENTS.length} kills in the midst of an import, exec sessions and port-forwards`, async () => {
  await using daemon = await TestDaemon.start({ built: true });
  const pod = await runPod(daemon, undefined, NamespaceMode.POD);
  await using _server = await PodServer.start(daemon, pod.id);
  const container = await runContainer(daemon, pod, 'while :; do sleep 1000; done');
  const before = await container.pids();
  // Its own sleep is no stranger, once it is there.
  await eventually('init sleeps', () =>
    listProcesses().some(({ ppid, command }) => ppid === before.init && command === 'sleep 1000'),
  );
  const file = join(daemon.dir, 'app.tar');
  writeFileSync(file, archive);
  const importArchive = async () => await berth(daemon, ['image', 'import', file, '--name', IMAGE]);

  const known = new Set(listProcesses().map(({ pid }) => pid));
  const empty = census(daemon);
  const seen = { cutOff: 0, leftovers: 0, whole: 0, execs: 0, calls: 0, forwarded: 0 };
  for (const [layers, ms] of MOMENTS) {
    const moment = `the kill ${ms} ms after ${layers} layers`;
    const busy = new Load(daemon, container, pod);
    const importing = importArchive();
    await unpacked(daemon, layers, importing);
    await sleep(ms);
    await daemon.kill();
    await busy.end();
    if ((await importing).code !== 0) seen.cutOff += 1;
    seen.leftovers += readdirSync(join(daemon.root, 'images/tmp')).length;
    for (const kind of ['execs', 'calls', 'forwarded'] as const) seen[kind] += busy.done[kind];
    // Programs, their supervisors and the helper that dials end with the daemon, not with the next one.
    await eventually(
      () => `nothing is left by ${moment}: ${strangers(daemon, container, known).join('; ')}`,
      () => strangers(daemon, container, known).length === 0,
    );

    await daemon.start();
    known.add(daemon.pid);
    const whole = await imageIsWhole(daemon);
    if (whole) {
      seen.whole += 1;
      await daemon.client.image.removeImage({ image: { image: IMAGE } });
    }
    await eventually(
      () => `only what there was before ${moment}:\n${difference(empty, census(daemon)).join('\n')}`,
      () => difference(empty, census(daemon)).length === 0,
    );
    assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
    assert.deepEqual(await container.pids(), before);
    await worksAnew(daemon, container, pod);
  }
  console.log(JSON.stringify(seen));
  // Else the kills have hit nothing that matters.
  assert.ok(
    Object.values(seen).every((count) => count > 0),
    JSON.stringify(seen),
  );
  const last = await importArchive();
  assert.equal(last.code, 0, last.stderr);
  assert.ok(await imageIsWhole(daemon));
});

/** Kills of daemons that have not come to serve yet, spread over the time that a start takes. */
const STARTS = 12;

test(`${STARTS} kills of daemons that are about to start: nothing piles up, and a container that runs is found again`, async () => {
  await using daemon = await TestDaemon.start({ built: true });
  const container = await runContainer(daemon, await runPod(daemon), 'exec sleep 1000');
  const before = await container.pids();
  const served = census(daemon);
  await daemon.kill();
  const began = performance.now();
  await daemon.start();
  const startMs = performance.now() - began;
  for (let kill = 0; kill < STARTS; kill += 1) {
    await daemon.kill();
    // One that is killed on its way does not come to serve, and one that was quicker does.
    const starting = daemon.start().catch(() => undefined);
    await sleep((startMs * (kill + 0.5)) / STARTS);
    await daemon.kill();
    await starting;
    await daemon.start();
    assert.deepEqual(difference(served, census(daemon)), []);
    assert.deepEqual(await container.pids(), before);
  }
});
