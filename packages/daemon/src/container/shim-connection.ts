/** Keeps the daemon connected to a container's shim and turns what comes of it into a status: running, exited, or lost. */
import { shimSocketPath } from '../runtime/runtime.ts';
import { type ExitRecord, type Shim, ShimLost } from '../stdio/shim.ts';
import { messageOf } from '../util/errors.ts';
import { readStartTime } from '../util/boot.ts';
import { shownAnyway } from '../util/transactional.ts';
import { sleep } from '../util/wait.ts';
import type { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { readExitRecord } from './exit-record.ts';
import { type ContainerExit, type ContainerStatus, ended, exitOf, lost, mayRun, running, unknownExit } from './status.ts';

/** Pause between two attempts: a shim under load needs milliseconds to listen. */
const CONNECT_RETRY_MS = 25;
/** One attempt: the shim answers a hello at once or it is stuck. */
const HELLO_TIMEOUT_MS = 5_000;
/** How long a shim that does not answer is given, when it is known to have been there. */
export const RECONNECT_MS = 2_000;

/**
 * Connects to the shim, or finds the record of a container that has ended already. Tries for `patienceMs`, and for `startMs` while there is
 * a shim that does not answer yet. Gives undefined when there is neither shim nor record.
 */
async function findShim(
  deps: ContainerDeps,
  container: Container,
  patienceMs: number,
  startMs: number,
): Promise<Shim | ExitRecord | undefined> {
  const begun = performance.now();
  let heard = false;
  for (;;) {
    try {
      return await sayHello(deps, container);
    } catch (error) {
      deps.closing.throwIfAborted();
      const record = await readExitRecord(deps, container.id);
      if (record !== undefined) return record;
      const refused = isRefused(error);
      heard ||= !refused;
      // A shim that is not there yet may still come; one that has been there is dead.
      const gone = refused && (heard || container.status.state !== 'starting');
      if (gone || performance.now() - begun >= (heard ? startMs : patienceMs)) {
        deps.log.warn({ container: container.id, reason: messageOf(error) }, 'shim does not answer');
        return undefined;
      }
    }
    await sleep(CONNECT_RETRY_MS, deps.closing);
  }
}

/** @throws ShimLost also when init has not been executed: a shim of before answers nevertheless, and knows no process */
async function sayHello(deps: ContainerDeps, container: Container): Promise<Shim> {
  const shim = await deps.connectShim(
    shimSocketPath(deps.state, container.id),
    container.meta.spec.secret,
    AbortSignal.any([deps.closing, AbortSignal.timeout(HELLO_TIMEOUT_MS)]),
  );
  if (shim.welcome.initPid !== 0) return shim;
  drop(shim);
  throw new ShimLost('init has not been executed yet');
}

/** Nobody listens: a shim does so from its first moment to its last, so one that had been there is dead. */
function isRefused(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && (cause.code === 'ECONNREFUSED' || cause.code === 'ENOENT');
}

/**
 * Connects to the shim of a container that is starting or running and keeps watching it. Resolves when the status says `running` or
 * `exited`; false when there is neither shim nor record, the status is unchanged then. A call while another one tries joins that one.
 * @param startMs patience with a shim that is there and does not answer, because init has not been executed yet
 */
export function followShim(deps: ContainerDeps, container: Container, patienceMs: number, startMs = patienceMs): Promise<boolean> {
  container.connecting ??= connect(deps, container, patienceMs, startMs).finally(() => {
    container.connecting = undefined;
  });
  return container.connecting;
}

/** A shim whose init is not the process that was noted is not this container's: it is treated as gone. */
async function connect(deps: ContainerDeps, container: Container, patienceMs: number, startMs: number): Promise<boolean> {
  const found = await findShim(deps, container, patienceMs, startMs);
  if (found === undefined) return false;
  if (!('welcome' in found)) {
    await recordEnd(deps, container, found);
    return true;
  }
  const shim = found;
  const { initPid: pid, startedAtNs, state } = shim.welcome;
  const pidStartTime = state === 'running' ? await readStartTime(pid) : undefined;
  const noted = container.status;
  if (noted.pid !== undefined && (noted.pid !== pid || (pidStartTime ?? noted.pidStartTime) !== noted.pidStartTime)) {
    deps.log.error(
      { container: container.id, init: pid, noted: noted.pid },
      'the shim speaks for another process than the one noted',
    );
    drop(shim);
    return false;
  }
  container.setShim(shim);
  container.released = watch(deps, container, shim);
  await keepStatus(deps, container, running({ pid, startedAtNs, ...(pidStartTime === undefined ? {} : { pidStartTime }) }), false);
  return true;
}

function drop(shim: Shim): void {
  shim.exit.catch(() => {});
  shim.close();
}

/** Waits for the exit in the background. Every failure ends in a status or in the log. */
async function watch(deps: ContainerDeps, container: Container, shim: Shim): Promise<void> {
  try {
    let record: ExitRecord;
    try {
      record = await shim.exit;
    } catch {
      return await shimLost(deps, container, shim);
    }
    await recordEnd(deps, container, record);
    await release(deps, container, shim);
  } catch (error) {
    if (!deps.closing.aborted) deps.log.error({ container: container.id, err: error }, 'watching a container failed');
  }
}

/** Lets the shim end, after whoever still needs it (Shim.leave waits for them, bounded). */
async function release(deps: ContainerDeps, container: Container, shim: Shim): Promise<void> {
  try {
    await shim.leave();
  } catch (error) {
    deps.log.debug({ container: container.id, err: error }, 'the shim had gone before it was let go');
  } finally {
    shim.close();
    if (container.shim() === shim) container.setShim(undefined);
  }
}

async function recordEnd(deps: ContainerDeps, container: Container, record: ExitRecord): Promise<void> {
  const exit = exitOf(record);
  deps.log.info({ container: container.id, code: exit.code, reason: exit.reason, drained: record.drained }, 'container has ended');
  await keepStatus(deps, container, ended(exit, record.startedAtNs === 0n ? undefined : record.startedAtNs), false);
}

/** Shows what has happened even when the disk is full: the next start finds out again, by the shim or its record. */
async function keepStatus(
  deps: ContainerDeps,
  container: Container,
  change: (status: ContainerStatus) => ContainerStatus,
  durable: boolean,
): Promise<void> {
  await shownAnyway(deps.log, { container: container.id }, container.update(change, { keep: true, durable }));
}

/** The connection has broken without an exit: the shim may have dropped a daemon that was late, or be dead. */
async function shimLost(deps: ContainerDeps, container: Container, shim: Shim): Promise<void> {
  if (deps.closing.aborted) return;
  shim.close();
  if (container.shim() === shim) container.setShim(undefined);
  if (await followShim(deps, container, RECONNECT_MS)) return;
  await recordLoss(
    deps,
    container,
    shimLostExit(deps, 'the supervisor of this container was killed; how the container ended is not known'),
  );
}

/** What is shown of a container whose supervisor is gone. */
export const shimLostExit = (deps: ContainerDeps, message: string): ContainerExit => unknownExit('ShimLost', message, deps.now());

/**
 * The shim is gone and has left no record: kills what is left of the container and shows `exit`. Of a start that nobody waits for any longer
 * the shim may still be there: it is ended as well, so that nothing comes up behind what is shown.
 * When that fails the container is shown as unknown; StopContainer and RemoveContainer try again.
 */
export async function recordLoss(deps: ContainerDeps, container: Container, exit: ContainerExit): Promise<void> {
  try {
    // Without a pid it has not been seen running.
    if (container.status.pid === undefined) await deps.runtime.abandonStart(container.meta.spec);
    else await deps.runtime.killLeftovers(container.meta.spec);
  } catch (error) {
    deps.log.error({ container: container.id, err: error }, 'processes of a container without a supervisor could not be killed');
    await keepStatus(deps, container, lost, false);
    return;
  }
  if (!mayRun(container.status.state)) return;
  const record = await readExitRecord(deps, container.id);
  if (record !== undefined) return recordEnd(deps, container, record);
  deps.log.warn({ container: container.id, reason: exit.reason }, 'container has ended, nobody knows how');
  await keepStatus(deps, container, ended(exit), true);
}
