// A container in the foreground that a signal to `berth run` stops: it is shown until it has ended.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from '../daemon.ts';
import { foreground } from './foreground.ts';
import type { Outcome, SessionTarget } from './run-session.ts';

/** How long a container may take to end before it is killed. */
const STOP_SECONDS = 10n;
/** Between the container's end and that of the session lies what is written last: a reader that has stopped does not hold it longer. */
const LAST_WORDS_MS = 5_000;

/** Stops a container whose `berth run` is over. */
export async function stopContainer({ client }: Daemon, containerId: string): Promise<void> {
  await client.runtime.stopContainer({ containerId, timeout: STOP_SECONDS });
}

/**
 * Shows a container that was just started. SIGHUP, a closed terminal, leaves it running; other signals stop it, and what it writes until
 * its end is shown. Either way the outcome is the signal, and when it is another one than SIGHUP, the container has ended.
 */
export async function showUntilStopped(
  daemon: Daemon,
  target: Omit<SessionTarget, 'from'>,
  interrupted: AbortSignal,
): Promise<Outcome | { readonly kind: 'over' }> {
  const leave = new AbortController();
  let stopping: Promise<void> | undefined;
  const onSignal = (): void => {
    if (interrupted.reason === 'SIGHUP') return leave.abort(interrupted.reason);
    stopping = stopContainer(daemon, target.containerId);
    const hurry = async (): Promise<void> => {
      await sleep(LAST_WORDS_MS, undefined, { ref: false });
      leave.abort(interrupted.reason);
    };
    stopping.then(hurry, () => leave.abort(interrupted.reason));
  };
  interrupted.addEventListener('abort', onSignal);
  if (interrupted.aborted) onSignal();
  try {
    const outcome = await foreground(daemon, target, leave.signal);
    if (stopping === undefined) return outcome;
  } catch (error) {
    // A session that fails meanwhile has shown what it could.
    if (stopping === undefined) throw error;
  } finally {
    interrupted.removeEventListener('abort', onSignal);
  }
  await stopping;
  return { kind: 'signal', name: interrupted.reason as NodeJS.Signals };
}
