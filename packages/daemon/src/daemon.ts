/** The composition root: opens the rooms in order, ties them together, closes them in reverse. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from './config/config.ts';
import { lockRoot, lockState } from './config/lock.ts';
import type { AttachTarget } from './container/attach-target.ts';
import { Containers } from './container/containers.ts';
import type { ConnectExec, ConnectShim } from './container/deps.ts';
import type { AttachIssuer, SessionControl } from './cri/deps.ts';
import { RpcStats } from './cri/rpc-stats.ts';
import { serveCri } from './cri/server.ts';
import { services } from './cri/services.ts';
import { daemonMetrics } from './daemon-metrics.ts';
import type { ImageStore } from './image/image.ts';
import type { Family, MetricSource } from './observability/metric.ts';
import { serveMetrics } from './observability/metrics-server.ts';
import { ProcessMetrics } from './observability/process-metrics.ts';
import type { Runtime } from './runtime/runtime.ts';
import { Pods } from './sandbox/pods.ts';
import type { ForwardTarget } from './streaming/forward-target.ts';
import { readBootId } from './util/boot.ts';
import { nowNs } from './util/clock.ts';
import { daemonStopping } from './util/daemon-stopping.ts';
import { makeOwnFolder } from './util/folders.ts';
import { KeyedMutex } from './util/keyed-mutex.ts';
import { FileRecords, type Records } from './util/records.ts';
import { nodeMemory, RestingMemory } from './util/resting-memory.ts';

/** Attach sessions: their server, their URLs. */
export type StreamingRoom = AttachIssuer & {
  /** `http://127.0.0.1:10350` */
  readonly baseUrl: string;
  readonly sessions: SessionControl;
  metrics(): Family[];
  /** Begins no session any more and lets those that run go on for `streaming.drain_ms`, until none is left, or until `atOnce`. */
  drain(atOnce: AbortSignal): Promise<void>;
  /** Ends every session, bounded. */
  close(): Promise<void>;
};

/** The pod of a port-forward session, when it is ready. */
export type FindForwardTarget = (podId: string) => ForwardTarget | undefined;

/** What is different between the real daemon and its tests. */
export type Rooms = {
  /** Refuses what would make no sense to make a folder for. */
  checkStart(config: Config): void;
  /** Puts the host's folders and mounts in order; before anything else touches them. Where it throws, nothing of that is left. */
  prepareHost(config: Config, log: Logger): Promise<void>;
  /** Takes down what prepareHost made, unless something of a pod or container is left there; not called when one is known. */
  releaseHost(config: Config, log: Logger): Promise<void>;
  openRuntime(config: Config, log: Logger): Promise<Runtime>;
  openImages(config: Config, log: Logger): Promise<ImageStore>;
  readonly connectShim: ConnectShim;
  readonly connectExec: ConnectExec;
  openStreaming(
    config: Config,
    find: (id: string) => AttachTarget | undefined,
    runProgram: Containers['exec'],
    findPod: FindForwardTarget,
    log: Logger,
  ): Promise<StreamingRoom>;
  /** Wraps the records; tests let them crash. */
  records?(records: Records): Records;
  /** Another boot than the kernel's; for tests. */
  readonly bootId?: string;
  /** Lines of the log that could not be written. */
  logLinesLost?(): number;
};

export type Daemon = {
  readonly socket: string;
  /** Where attach URLs begin. */
  readonly streamingUrl: string;
  /** Where metrics are served, if they are. */
  readonly metricsUrl?: string;
  /** To be called before `close` where sessions shall have their grace: begins none any more; CRI is served meanwhile. */
  drain(atOnce: AbortSignal): Promise<void>;
  /** Stops serving; containers go on. Idempotent. */
  close(): Promise<void>;
};

/**
 * Starts the daemon; resolves when it serves.
 * @throws BerthError what keeps it from serving; everything that was opened is closed again
 */
export async function startDaemon(config: Config, log: Logger, rooms: Rooms): Promise<Daemon> {
  await using stack = new AsyncDisposableStack();
  rooms.checkStart(config);
  await makeOwnFolder('root folder', config.root, 0o711);
  await makeOwnFolder('state folder', config.state, 0o711);
  stack.use(await lockRoot(config.root));
  stack.use(await lockState(config.state));
  const memory = nodeMemory();
  if (memory !== undefined) stack.use(new RestingMemory(memory));

  await rooms.prepareHost(config, log);
  // A start that fails before the records are read leaves this to releaseHost, which looks at the folders itself.
  let inUse = (): boolean => false;
  stack.defer(async () => {
    if (!inUse()) await rooms.releaseHost(config, log);
  });
  const runtime = await rooms.openRuntime(config, log);
  stack.defer(() => runtime.close());
  const images = await rooms.openImages(config, log);

  const closing = new AbortController();
  const wrap = (records: Records): Records => rooms.records?.(records) ?? records;
  const shared = { runtime, log, bootId: rooms.bootId ?? (await readBootId()), now: nowNs, mutex: new KeyedMutex() };
  const containers = new Containers({
    ...shared,
    root: config.root,
    state: config.state,
    connectShim: rooms.connectShim,
    connectExec: rooms.connectExec,
    records: wrap(new FileRecords(join(config.root, 'containers'))),
    closing: closing.signal,
  });
  const pods = new Pods({ ...shared, containers, records: wrap(new FileRecords(join(config.root, 'pods'))) });
  inUse = () => pods.store.size > 0 || containers.store.list().length > 0;
  stack.defer(async () => {
    // A call that is cut off by it has met no bug.
    closing.abort(daemonStopping());
    await containers.close();
  });
  await pods.recover((id) => images.find(id));

  const findPod: FindForwardTarget = (id) => {
    const pod = pods.store.find(id);
    if (pod?.ready !== true) return undefined;
    const dial: ForwardTarget['dial'] = (port, signal) => runtime.dialPort(pod.meta.spec, pod.status.resources, port, signal);
    return { gone: pod.gone, dial };
  };
  const streaming = await rooms.openStreaming(
    config,
    (id) => containers.attachTarget(id),
    (id, program, signal) => containers.exec(id, program, signal),
    findPod,
    log,
  );
  stack.defer(() => streaming.close());

  const served = services({
    runtime,
    pods,
    containers,
    images,
    attach: streaming,
    sessions: streaming.sessions,
    log,
    settings: config,
    now: nowNs,
  });
  const stats = new RpcStats();
  const metricsUrl = await openMetrics(stack, config, log, [
    () => daemonMetrics(pods, containers, rooms.logLinesLost?.() ?? 0),
    () => streaming.metrics(),
    () => stats.families(),
  ]);
  const server = await serveCri(config.socket, served, { log, stats });
  stack.defer(() => server.close());

  const open = stack.move();
  log.info(
    {
      socket: config.socket,
      streaming: streaming.baseUrl,
      metrics: metricsUrl,
      pods: pods.store.size,
      containers: containers.store.list().length,
    },
    'serving',
  );
  let closed: Promise<void> | undefined;
  return {
    socket: config.socket,
    streamingUrl: streaming.baseUrl,
    ...(metricsUrl === undefined ? {} : { metricsUrl }),
    drain: (atOnce) => streaming.drain(atOnce),
    close: () => {
      closed ??= open.disposeAsync();
      return closed;
    },
  };
}

/** Serves metrics where that is wanted; gives their URL. */
async function openMetrics(
  stack: AsyncDisposableStack,
  { metrics }: Config,
  log: Logger,
  sources: readonly MetricSource[],
): Promise<string | undefined> {
  if (metrics === undefined) return undefined;
  const process = stack.use(new ProcessMetrics());
  return stack.use(await serveMetrics(metrics, [...sources, () => process.collect()], log)).url;
}
