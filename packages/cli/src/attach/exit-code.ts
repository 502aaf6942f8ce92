// What a session that has ended means as an exit status.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from '../daemon.ts';
import { CliError, isNotFound } from '../errors.ts';
import { EXIT, EXIT_SIGNAL_BASE } from '../exit-codes.ts';
import { exitCodeOfSignal } from '../terminal/signals.ts';
import type { Outcome } from './run-session.ts';

/** A session's status and the container's state come by different ways; this is how long one may be behind the other. */
export const STATE_LAG_MS = 1_000;
/** The same where the end of the input has ended the session, most likely: Berth shows an exit before it ends the session with it. */
const STATE_LAG_AFTER_INPUT_MS = 100;
const POLL_MS = 25;
const SIGPIPE = 13;
const CONTAINER_EXITED = 2;
const CONTAINER_UNKNOWN = 3;

/** The process is to end by this signal, everything having been put in order. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`ended by ${signal}`);
    this.signal = signal;
  }

  get exitCode(): number {
    return exitCodeOfSignal(this.signal);
  }
}

/**
 * The exit status for an outcome: the container's when it has exited, else 0.
 * @throws CliError when the container is gone, Interrupted after a signal.
 */
export async function exitCodeOfOutcome(daemon: Daemon, containerId: string, outcome: Outcome): Promise<number> {
  switch (outcome.kind) {
    case 'detached':
      return EXIT.ok;
    case 'signal':
      throw new Interrupted(outcome.name);
    case 'unwritable':
      if (outcome.error.code === 'EPIPE') return EXIT_SIGNAL_BASE + SIGPIPE;
      throw new CliError(`the output cannot be written: ${outcome.error.message}`, undefined, { cause: outcome.error });
    case 'ended': {
      const { end, endOfInput } = outcome;
      const patienceMs = endOfInput ? STATE_LAG_AFTER_INPUT_MS : STATE_LAG_MS;
      return (await containerExitCode(daemon, containerId, patienceMs)) ?? end.exitCode ?? EXIT.ok;
    }
    default:
      return outcome satisfies never;
  }
}

/** The container's exit code; undefined when it has not exited within this time. @throws CliError when it is not there any more. */
export async function containerExitCode({ client }: Daemon, containerId: string, patienceMs: number): Promise<number | undefined> {
  const until = performance.now() + patienceMs;
  for (;;) {
    try {
      const { status } = await client.runtime.containerStatus({ containerId });
      if (status?.state === CONTAINER_EXITED || status?.state === CONTAINER_UNKNOWN) return status.exitCode;
    } catch (error) {
      if (isNotFound(error)) throw new CliError('the container was removed meanwhile; its exit code is not known');
      throw error;
    }
    if (performance.now() >= until) return undefined;
    await sleep(POLL_MS);
  }
}
