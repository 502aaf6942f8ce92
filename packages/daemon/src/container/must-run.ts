/** Refuses what only a running container can do, in one sentence for all RPCs. */
import type { Runtime } from '../runtime/runtime.ts';
import type { Shim } from '../stdio/shim.ts';
import { BerthError } from '../util/errors.ts';
import { notRunning } from '../util/not-running.ts';
import type { Container } from './container.ts';

/** @throws BerthError `CONTAINER_NOT_RUNNING` with the state, and the exit code where there is one */
export function mustRun({ id, status }: Pick<Container, 'id' | 'status'>): void {
  if (status.state !== 'running') throw notRunning(id, status.state, status.exit?.code);
}

/**
 * For what a running container's shim does. There may be none for a moment: a connection that has broken is made again.
 * @throws BerthError as `mustRun`; `SHIM_LOST`
 */
export function shimOfRunning(container: Pick<Container, 'id' | 'status' | 'shim'>): Shim {
  mustRun(container);
  const shim = container.shim();
  if (shim === undefined) throw noAnswer(container);
  return shim;
}

/** What is said when a running container's shim is not to be had. */
export const noAnswer = ({ id }: Pick<Container, 'id'>, cause?: unknown): BerthError =>
  new BerthError('unavailable', 'SHIM_LOST', `the supervisor of container ${id} does not answer; try again`, { cause });

/**
 * For what would wait for as long as somebody outside keeps the container frozen.
 * @throws BerthError as `mustRun`; `CONTAINER_PAUSED` with where it is frozen
 */
export async function mustRunUnfrozen(runtime: Runtime, container: Container): Promise<void> {
  mustRun(container);
  const at = await runtime.frozenAt(container.meta.spec);
  // It may have ended while it was looked at.
  mustRun(container);
  if (at === undefined) return;
  throw new BerthError(
    'failed-precondition',
    'CONTAINER_PAUSED',
    `container ${container.id} is not running: paused, by somebody who has frozen ${at} or a cgroup above it; thaw it and try again`,
  );
}
