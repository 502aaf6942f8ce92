/** What Attach and its sessions may see of a container. */
import type { Shim } from '../stdio/shim.ts';
import type { Container } from './container.ts';
import type { ContainerExit, ContainerState } from './status.ts';

export type AttachTarget = {
  readonly id: string;
  readonly runtime: string;
  readonly state: ContainerState;
  /** There once the state is `exited`. */
  readonly exit?: ContainerExit;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /** There while the daemon is connected to the container's shim; stays for a moment after the exit. */
  readonly shim?: Shim;
  readonly logPath?: string;
  /** What people call it. */
  readonly names: {
    readonly containerName: string;
    readonly podId: string;
    readonly podName: string;
    readonly podNamespace: string;
  };
};

/** A view of the container as it is now. */
export function attachTarget(container: Container): AttachTarget {
  const { spec, runtime } = container.meta;
  const { state, exit, logPath } = container.status;
  const shim = container.shim();
  const { id: podId, config: pod } = spec.pod;
  return {
    id: spec.id,
    runtime,
    state,
    tty: spec.config.tty,
    stdin: spec.config.stdin,
    stdinOnce: spec.config.stdinOnce,
    names: {
      containerName: spec.config.metadata?.name ?? '',
      podId,
      podName: pod.metadata?.name ?? '',
      podNamespace: pod.metadata?.namespace ?? '',
    },
    ...(exit === undefined ? {} : { exit }),
    ...(shim === undefined ? {} : { shim }),
    ...(logPath === undefined ? {} : { logPath }),
  };
}
