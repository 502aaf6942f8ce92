/** What Attach and its sessions may see of a container. */
import type { Shim } from '../stdio/shim.ts';
import type { Container } from './container.ts';

export type AttachTarget = {
  readonly id: string;
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
  const { spec } = container.meta;
  const { logPath } = container.status;
  const shim = container.shim();
  const { id: podId, config: pod } = spec.pod;
  return {
    id: spec.id,
    tty: spec.config.tty,
    stdin: spec.config.stdin,
    stdinOnce: spec.config.stdinOnce,
    names: {
      containerName: spec.config.metadata?.name ?? '',
      podId,
      podName: pod.metadata?.name ?? '',
      podNamespace: pod.metadata?.namespace ?? '',
    },
    ...(shim === undefined ? {} : { shim }),
    ...(logPath === undefined ? {} : { logPath }),
  };
}
