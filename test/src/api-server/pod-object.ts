/** Pods as Kubernetes' API shows them: the parts that kubectl and client libraries look at. */
import { ContainerState, type ContainerStatus } from '@berth/cri-api';

export type ContainerSpec = {
  readonly name: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  readonly tty?: boolean;
};

export type PodSpec = {
  readonly containers: readonly ContainerSpec[];
  readonly ephemeralContainers?: readonly ContainerSpec[];
  readonly hostNetwork?: boolean;
  readonly restartPolicy?: string;
  readonly securityContext?: object;
};

export type PodManifest = {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: PodSpec;
};

export type PodStatus = { readonly phase: string };

export type PodObject = PodManifest & {
  readonly apiVersion: 'v1';
  readonly kind: 'Pod';
  readonly status: PodStatus;
};

/** What is known of one container: its spec, whether it counts as ready, and CRI's status once there is one. */
export type ContainerView = {
  readonly spec: ContainerSpec;
  readonly ready: boolean;
  readonly status: ContainerStatus | undefined;
};

/** A pod's status from those of its containers, as kubelet makes it. */
export function podStatus(spec: PodSpec, containers: readonly ContainerView[], ephemeral: readonly ContainerView[]): PodStatus {
  const phase = phaseOf(containers);
  const ready = phase === 'Running' && containers.every((view) => view.ready);
  const condition = (type: string, is: boolean): object => ({ type, status: is ? 'True' : 'False' });
  const status = {
    phase,
    conditions: [condition('Initialized', true), condition('Ready', ready), condition('ContainersReady', ready)],
    containerStatuses: containers.map(containerStatus),
    ...(spec.ephemeralContainers === undefined ? {} : { ephemeralContainerStatuses: ephemeral.map(containerStatus) }),
  };
  return status;
}

function phaseOf(containers: readonly ContainerView[]): string {
  if (containers.some(({ status }) => status?.state === ContainerState.CONTAINER_RUNNING)) return 'Running';
  if (containers.some(({ status }) => status?.state !== ContainerState.CONTAINER_EXITED)) return 'Pending';
  return containers.every(({ status }) => status?.exitCode === 0) ? 'Succeeded' : 'Failed';
}

function containerStatus({ spec, ready, status }: ContainerView): object {
  const running = status?.state === ContainerState.CONTAINER_RUNNING;
  return {
    name: spec.name,
    image: spec.image,
    imageID: status?.imageRef ?? '',
    containerID: status === undefined ? '' : `berth://${status.id}`,
    restartCount: status?.metadata?.attempt ?? 0,
    ready: running && ready,
    started: running,
    state: stateOf(status),
  };
}

function stateOf(status: ContainerStatus | undefined): object {
  if (status?.state === ContainerState.CONTAINER_RUNNING) return { running: { startedAt: time(status.startedAt) } };
  if (status?.state !== ContainerState.CONTAINER_EXITED) return { waiting: { reason: 'ContainerCreating' } };
  return {
    terminated: {
      exitCode: status.exitCode,
      reason: status.reason,
      startedAt: time(status.startedAt),
      finishedAt: time(status.finishedAt),
    },
  };
}

const time = (nanoseconds: bigint): string => new Date(Number(nanoseconds / 1_000_000n)).toISOString().replace(/\.\d+Z$/, 'Z');
