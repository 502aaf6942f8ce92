/** ContainerStatus, ListContainers. */
import { constants } from 'node:os';
import { ContainerState, ContainerStatusSchema, type ContainerStatus, type RuntimeService, Signal } from '@berth/cri-api';
import { create } from '@bufbuild/protobuf';
import type { Container } from '../container/container.ts';
import type { ContainerState as State } from '../container/status.ts';
import { effectiveResources } from '../container/update-resources.ts';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';
import { labelsMatch } from './labels.ts';

export const containerStatuses = (deps: CriDeps): Pick<Handlers<typeof RuntimeService>, 'containerStatus' | 'listContainers'> => ({
  containerStatus: async ({ containerId, verbose }) => {
    if (containerId === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required container_id');
    const container = deps.containers.store.get(containerId);
    return {
      status: containerStatus(container),
      info: verbose ? { info: JSON.stringify(await verboseInfo(deps, container)) } : {},
    };
  },

  listContainers: async ({ filter }) => ({
    containers: deps.containers.store
      .list()
      .filter(
        (container) =>
          (filter === undefined || filter.id === '' || container.id.startsWith(filter.id)) &&
          (filter === undefined || filter.podSandboxId === '' || container.meta.spec.pod.id.startsWith(filter.podSandboxId)) &&
          (filter?.state === undefined || STATES[container.status.state] === filter.state.state) &&
          labelsMatch(container.meta.spec.config.labels, filter?.labelSelector),
      )
      .map((container) => ({
        ...common(container),
        podSandboxId: container.meta.spec.pod.id,
      })),
  }),
});

/** CRI has no word for starting: until init runs it is only created. */
const STATES: Readonly<Record<State, ContainerState>> = {
  creating: ContainerState.CONTAINER_CREATED,
  created: ContainerState.CONTAINER_CREATED,
  starting: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
};

function common(container: Container) {
  const { spec, createdAtNs } = container.meta;
  const { metadata, image, labels, annotations } = spec.config;
  return {
    id: container.id,
    ...(metadata === undefined ? {} : { metadata }),
    ...(image === undefined ? {} : { image }),
    imageRef: spec.image.id,
    imageId: spec.image.id,
    state: STATES[container.status.state],
    createdAt: createdAtNs,
    labels,
    annotations,
  };
}

/** The whole status, as CRI words it. */
export function containerStatus(container: Container): ContainerStatus {
  const { exit, startedAtNs, logPath, user, stopSignal } = container.status;
  const resources = effectiveResources(container);
  return create(ContainerStatusSchema, {
    ...common(container),
    startedAt: startedAtNs ?? 0n,
    finishedAt: exit?.finishedAtNs ?? 0n,
    exitCode: exit?.code ?? 0,
    reason: exit?.reason ?? '',
    message: exit?.message ?? '',
    mounts: container.meta.spec.config.mounts,
    logPath: logPath ?? '',
    ...(resources === undefined ? {} : { resources: { linux: resources } }),
    user: { linux: { uid: BigInt(user.uid), gid: BigInt(user.gid), supplementalGroups: user.groups.map(BigInt) } },
    stopSignal: CRI_SIGNALS.get(stopSignal) ?? Signal.RUNTIME_DEFAULT,
  });
}

/** First and last real-time signal as the C library counts them, and how many CRI names from each end. */
const REALTIME = { first: 34, fromFirst: 15, last: 64, fromLast: 14 };

/** CRI numbers signals by its own list, with Linux' names. */
const CRI_SIGNALS: ReadonlyMap<number, Signal> = new Map(signalNames().map(([number, name]) => [number, Signal[name]]));

function signalNames(): [number, keyof typeof Signal][] {
  const names: [number, string][] = Object.entries(constants.signals).map(([name, number]) => [number, name]);
  for (let up = 1; up <= REALTIME.fromFirst; up++) names.push([REALTIME.first + up, `SIGRTMINPLUS${up}`]);
  for (let down = 1; down <= REALTIME.fromLast; down++) names.push([REALTIME.last - down, `SIGRTMAXMINUS${down}`]);
  names.push([REALTIME.first, 'SIGRTMIN'], [REALTIME.last, 'SIGRTMAX']);
  return names.filter((entry): entry is [number, keyof typeof Signal] => Object.hasOwn(Signal, entry[1]));
}

async function verboseInfo({ runtime }: CriDeps, container: Container): Promise<object> {
  const { meta } = container;
  const frozenAt = container.status.state === 'running' ? await runtime.frozenAt(meta.spec) : undefined;
  const { status } = container;
  return {
    sandboxID: meta.spec.pod.id,
    runtimeType: meta.runtime,
    name: meta.name,
    state: status.state,
    // CRI has no state for it: the container is shown as running.
    ...(frozenAt === undefined ? {} : { frozenAt }),
    removing: status.removing,
    ...(status.pid === undefined ? {} : { pid: status.pid }),
    ...(status.exit === undefined ? {} : { exit: { ...status.exit, finishedAtNs: `${status.exit.finishedAtNs}` } }),
    bootId: status.bootId,
    tty: meta.spec.config.tty,
    stdin: meta.spec.config.stdin,
    stdinOnce: meta.spec.config.stdinOnce,
    layers: meta.spec.image.layers,
    shim: container.shim() === undefined ? 'not connected' : { pid: container.shim()?.welcome.shimPid },
  };
}
