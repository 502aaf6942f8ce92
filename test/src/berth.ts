/** Runs the real `berth` command against a test's daemon. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { collect, type Ran } from './crictl.ts';
import type { TestDaemon } from './daemon.ts';
import { atTerminal } from './terminal.ts';

export const BERTH = fileURLToPath(new URL('../../bin/berth', import.meta.url));

const environment = (daemon: TestDaemon): NodeJS.ProcessEnv => ({
  ...process.env,
  BERTH_SOCKET: daemon.socket,
  BERTH_LOG_DIR: daemon.logs,
});

/** Runs a command to its end; `input` is all of its stdin. */
export async function berth(daemon: TestDaemon, args: readonly string[], input: string | Uint8Array = ''): Promise<Ran> {
  const child = berthStarted(daemon, args);
  // One that ends early does not take the rest.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  return collect(child);
}

/** Starts a command, with pipes. */
export function berthStarted(daemon: TestDaemon, args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(BERTH, args, { stdio: 'pipe', env: environment(daemon) });
}

/** The same at a terminal of its own. The arguments must need no quotes. */
export function berthAtTerminal(daemon: TestDaemon, args: readonly string[]): ChildProcess {
  return shellAtTerminal(daemon, `exec ${[BERTH, ...args].join(' ')}`);
}

/** A shell command line at a terminal of its own. */
export function shellAtTerminal(daemon: TestDaemon, command: string): ChildProcess {
  return atTerminal(command, environment(daemon));
}
