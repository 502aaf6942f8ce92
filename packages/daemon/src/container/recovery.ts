/**
 * What the daemon does with the containers that it finds on disk at its start. It may have been killed at any instruction, and the host may
 * have been restarted:
 *
 *     on disk                                this boot                              another boot
 *     no complete record, or no status       half-made: taken down, forgotten       the same
 *     removing                               removal is finished                    the same
 *     created                                stays                                  exited, unknown (its mounts are gone)
 *     starting                               as running, once its shim has had      the same as running
 *                                            the time of a start
 *     running, unknown                       adopted; or the shim's exit record;    the shim's exit record; or unknown
 *                                            or killed and unknown
 *     exited                                 stays                                  stays
 */
import { ContainerConfigSchema, PodSandboxConfigSchema } from '@berth/cri-api';
import { create } from '@bufbuild/protobuf';
import type { Image } from '../image/image.ts';
import { type ContainerSpec, type PodSpec, START_TIMEOUT_MS } from '../runtime/runtime.ts';
import { forEachBounded } from '../util/bounded.ts';
import { settledWithin } from '../util/wait.ts';
import { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { readExitRecord } from './exit-record.ts';
import { parseRecord, parseStatus } from './record.ts';
import { followShim, RECONNECT_MS, recordLoss, shimLostExit } from './shim-connection.ts';
import { type ContainerStatus, ended, exitOf, mayRun, startError, unknownExit } from './status.ts';
import type { ContainerStore } from './store.ts';

/** Adoptions at one time: each waits for a shim, few of them need the processor. */
const PARALLEL_RECOVERIES = 32;
/** A shim whose start was cut short by the daemon's death may still be on its way: how long until it listens. */
const LATE_START_MS = 3_000;
/** The daemon serves later by this for containers that were starting: most of them run already, and are shown so at once. */
const FIRST_LOOK_MS = 500;

export type RecoverySources = {
  readonly findPod: (id: string) => PodSpec | undefined;
  readonly findImage: (id: string) => Image | undefined;
};

/** Fills the store from the records. A container whose recovery fails is kept in the log and tried again at the next start. */
export async function recoverContainers(deps: ContainerDeps, store: ContainerStore, sources: RecoverySources): Promise<void> {
  await forEachBounded(await deps.records.list(), PARALLEL_RECOVERIES, async (id) => {
    try {
      await recoverContainer(deps, store, sources, id);
    } catch (error) {
      deps.closing.throwIfAborted();
      deps.log.error({ container: id, err: error }, 'a container could not be recovered');
    }
  });
}

async function recoverContainer(deps: ContainerDeps, store: ContainerStore, sources: RecoverySources, id: string): Promise<void> {
  const record = parseRecord(await deps.records.read(id, 'record'), sources.findImage);
  const status = parseStatus(await deps.records.read(id, 'status'));
  const pod = record === undefined ? undefined : sources.findPod(record.podId);
  const spec = record?.spec(pod ?? stubPod(record.podId)) ?? stubSpec(id);
  if (record === undefined || status === undefined || status.removing || pod === undefined || spec.id !== id) {
    await takeDown(deps, spec, whyTakenDown(record !== undefined, status, pod !== undefined));
    return;
  }
  const container = new Container(
    { spec, name: record.name, runtime: record.runtime, createdAtNs: record.createdAtNs },
    status,
    deps.records,
  );
  store.add(container);
  if (status.bootId !== deps.bootId) await afterReboot(deps, container);
  else if (mayRun(status.state)) await adopt(deps, container);
}

async function takeDown(deps: ContainerDeps, spec: ContainerSpec, why: string): Promise<void> {
  deps.log.warn({ container: spec.id, why }, 'cleaning up after a container');
  await deps.runtime.killLeftovers(spec);
  await deps.runtime.removeContainer(spec);
  await deps.records.remove(spec.id);
}

function whyTakenDown(recordComplete: boolean, status: ContainerStatus | undefined, podThere: boolean): string {
  if (!recordComplete) return 'it has no complete record';
  if (status === undefined) return 'it was being created when the daemon ended';
  return status.removing || podThere ? 'its removal had begun' : 'its pod is gone';
}

async function afterReboot(deps: ContainerDeps, container: Container): Promise<void> {
  if (container.status.state === 'exited') return;
  const record = await readExitRecord(deps, container.id);
  const exit =
    record === undefined
      ? unknownExit('Unknown', 'the host was restarted; how the container ended is not known', deps.now())
      : exitOf(record);
  await container.update(ended(exit, record?.startedAtNs), { keep: true, durable: true });
}

async function adopt(deps: ContainerDeps, container: Container): Promise<void> {
  if (container.status.state === 'starting') {
    await settledWithin(awaitStart(deps, container), FIRST_LOOK_MS);
    return;
  }
  if (await followShim(deps, container, RECONNECT_MS)) logAdopted(deps, container);
  else await recordLoss(deps, container, shimLostExit(deps, 'the supervisor of this container was gone when the daemon came back'));
}

function logAdopted(deps: ContainerDeps, container: Container): void {
  const { state, pid } = container.status;
  if (state === 'running') deps.log.info({ container: container.id, init: pid }, 'running container adopted');
}

/**
 * The start goes on without the daemon that began it: as long as its shim is there it has the time that any start has. The daemon serves
 * meanwhile; whoever wants to change this container waits for its mutex. Never rejects.
 */
async function awaitStart(deps: ContainerDeps, container: Container): Promise<void> {
  try {
    await deps.mutex.run(container.id, async () => {
      if (await followShim(deps, container, LATE_START_MS, START_TIMEOUT_MS)) return logAdopted(deps, container);
      await recordLoss(deps, container, startError('the daemon ended while it was starting this container', deps.now()));
    });
  } catch (error) {
    if (!deps.closing.aborted) deps.log.error({ container: container.id, err: error }, 'a container could not be recovered');
  }
}

const stubPod = (id: string): PodSpec => ({ id, config: create(PodSandboxConfigSchema) });

/** Enough for the runtime to take down what it finds under this id. */
const stubSpec = (id: string): ContainerSpec => ({
  id,
  pod: stubPod(''),
  config: create(ContainerConfigSchema),
  image: {
    id: '',
    names: [],
    size: 0,
    layers: [],
    run: { user: '', env: [], entrypoint: [], cmd: [], workingDir: '', volumes: [], stopSignal: '', labels: {} },
  },
  secret: '0'.repeat(64),
});
