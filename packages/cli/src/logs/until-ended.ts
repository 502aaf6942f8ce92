// When a followed log is over: the container has ended.
import { access } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from '../daemon.ts';
import { isNotFound, isRpcError } from '../errors.ts';
import { complain } from '../output/print.ts';
import { POLL_MS } from './log-rotations.ts';

const CONTAINER_CREATED = 0;
const CONTAINER_RUNNING = 1;
/** How often the daemon is asked; the log is looked at ten times as often. */
const STATE_INTERVAL_MS = 1_000;
/** What a call ends with when there is no daemon, or one that is just ending. */
const AWAY: readonly string[] = ['UNAVAILABLE', 'CANCELLED', 'DEADLINE_EXCEEDED'];

/**
 * Whether the container has ended, as far as is known: may be asked as often as one likes, and waits for no daemon. One that is away is no
 * end, as container and log go on without it; it is said once. The signal ends the asking.
 * @throws what the daemon refuses
 */
export function endOf({ client }: Daemon, containerId: string, signal: AbortSignal): () => Promise<boolean> {
  let next = 0;
  let asking = false;
  let ended = false;
  let away = false;
  let refused: Error | undefined;
  const ask = async (): Promise<void> => {
    try {
      const { status } = await client.runtime.containerStatus({ containerId }, { signal });
      away = false;
      ended = status?.state !== CONTAINER_RUNNING && status?.state !== CONTAINER_CREATED;
    } catch (error) {
      if (signal.aborted) return;
      if (isNotFound(error)) ended = true;
      else if (!isRpcError(error) || !AWAY.includes(error.status)) refused = error as Error;
      else {
        if (!away) complain('berth: the daemon does not answer; container and log go on without it');
        away = true;
      }
    }
  };
  return async () => {
    if (refused !== undefined) throw refused;
    if (!ended && !asking && performance.now() >= next) {
      next = performance.now() + STATE_INTERVAL_MS;
      asking = true;
      void ask().finally(() => {
        asking = false;
      });
    }
    return ended;
  };
}

/** Waits until there is a log: a container that was only created has none. Ends without one when the container has ended, or is removed. */
export async function logAppears(path: string, ended: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  const there = async (): Promise<boolean> =>
    await access(path).then(
      () => true,
      () => false,
    );
  while (!signal.aborted && !(await there()) && !(await ended())) await sleep(POLL_MS, undefined, { signal }).catch(() => {});
}
