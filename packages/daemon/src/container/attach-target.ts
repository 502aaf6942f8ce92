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
};

/** A view of the container as it is now. */
export function attachTarget(container: Container): AttachTarget {
  const { spec, runtime } = container.meta;
  const { state, exit, logPath } = container.status;
  const shim = container.shim();
  return {
    id: spec.id,
    runtime,
    state,
    tty: spec.config.tty,
    stdin: spec.config.stdin,
    stdinOnce: spec.config.stdinOnce,
    ...(exit === undefined ? {} : { exit }),
    ...(shim === undefined ? {} : { shim }),
    ...(logPath === undefined ? {} : { logPath }),
  };
}
