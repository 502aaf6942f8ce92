/** StopContainer: the stop signal, the grace period, then SIGKILL for every process. */
import { ANSWER_MS } from '../stdio/shim.ts';
import { BerthError } from '../util/errors.ts';
import { settledWithin } from '../util/wait.ts';
import type { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { followShim, recordLoss, shimLostExit } from './shim-connection.ts';
import { mayRun } from './status.ts';

const SIGKILL = 9;
/** After SIGKILL the shim drains for 2 s at most and writes its record; the rest is for a machine under load. */
const KILL_WAIT_MS = 15_000;
/** A grace period beyond this is this: what setTimeout can count. */
const MAX_GRACE_MS = 2 ** 31 - 1;

/**
 * Stops a container; returns when it has ended. Idempotent, and several calls may wait at once, each with its own grace period: a later
 * call with a shorter one is not held up by an earlier one.
 * @throws BerthError `CONTAINER_NOT_STOPPED` when processes survive SIGKILL; the signal's reason when that is aborted.
 */
export async function stopContainer(
  deps: ContainerDeps,
  container: Container,
  graceMs: number,
  signal?: AbortSignal,
): Promise<void> {
  if (graceMs > 0) {
    await deps.mutex.run(container.id, () => sendStopSignal(deps, container, signal));
    if (!mayRun(container.status.state)) return;
    if (container.status.state === 'running' && (await settledWithin(container.stopped, Math.min(graceMs, MAX_GRACE_MS), signal)))
      return;
    deps.log.info({ container: container.id, graceMs }, 'grace period is over, killing');
  }
  await deps.mutex.run(container.id, () => killContainer(deps, container, signal));
}

async function sendStopSignal(deps: ContainerDeps, container: Container, aborted?: AbortSignal): Promise<void> {
  const shim = container.shim();
  if (container.status.state !== 'running' || container.stopSignalSent || shim === undefined) return;
  container.stopSignalSent = true;
  const sent = shim.signal(container.status.stopSignal);
  // The next call sends it to the shim that is found again.
  sent.catch(() => {
    container.stopSignalSent = false;
  });
  await wasSent(deps, container, sent, aborted);
}

/** Whether the shim has sent a signal, or said that it cannot. @throws the signal's reason when that is aborted */
async function wasSent(deps: ContainerDeps, container: Container, sent: Promise<void>, aborted?: AbortSignal): Promise<boolean> {
  sent.catch((error: unknown) => deps.log.warn({ container: container.id, err: error }, 'a signal could not be sent'));
  if (await settledWithin(sent, ANSWER_MS, aborted)) return true;
  deps.log.error({ container: container.id }, 'the supervisor of a container is there and does not answer');
  return false;
}

/** Kills every process of a container and waits until it has ended. The caller holds the container's mutex. */
export async function killContainer(deps: ContainerDeps, container: Container, signal?: AbortSignal): Promise<void> {
  if (!mayRun(container.status.state)) return;
  if (container.shim() === undefined) await followShim(deps, container, 0);
  const shim = container.shim();
  if (shim !== undefined && (await wasSent(deps, container, shim.signal(SIGKILL, true), signal))) {
    // Its end may come late; once it is known, writing it down gets as long again before anything else is shown in its place.
    if ((await settledWithin(shim.exit, KILL_WAIT_MS, signal)) && (await settledWithin(container.stopped, KILL_WAIT_MS, signal)))
      return;
  }
  if (mayRun(container.status.state)) {
    await recordLoss(
      deps,
      container,
      shimLostExit(deps, 'the supervisor of this container did not answer; the container was killed without it'),
    );
  }
  if (mayRun(container.status.state)) {
    throw new BerthError(
      'deadline-exceeded',
      'CONTAINER_NOT_STOPPED',
      `container ${container.id} has processes that do not end on SIGKILL`,
    );
  }
}
