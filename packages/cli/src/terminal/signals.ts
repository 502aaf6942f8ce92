// The signals that end a session, caught so that the terminal is given back first.
import { constants } from 'node:os';
import { EXIT_SIGNAL_BASE } from '../exit-codes.ts';

const ENDING: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];

/** The exit status of a process that ended because of this signal. */
export const exitCodeOfSignal = (signal: NodeJS.Signals): number => EXIT_SIGNAL_BASE + constants.signals[signal];

/** Aborts with the signal's name as soon as one arrives. A second one ends the process at once. */
export function untilSignal(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(exitCodeOfSignal(name));
    controller.abort(name);
  };
  for (const name of ENDING) process.on(name, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of ENDING) process.off(name, onSignal);
    },
  };
}
