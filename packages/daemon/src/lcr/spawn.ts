/** Short-lived helper processes (mount, umount, berth-shim): run with a bound on time and output. */
import { spawn } from 'node:child_process';
import { failed } from './refuse.ts';

/** How long a helper may take: they make a handful of system calls, but the machine may be swamped. */
export const HELPER_TIMEOUT_MS = 30_000;
/** Helpers print a line; more than this is cut off. */
export const MAX_HELPER_OUTPUT_BYTES = 16 * 1024;
/** What a helper gets of the daemon's environment: nothing. */
export const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };

export type Finished = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** What is asked of a helper beyond its command line. */
export type RunOptions = {
  readonly input?: Buffer;
  readonly timeoutMs?: number;
  /** Resolve at the first complete line of stdout; the process may stay and is left alone. */
  readonly firstLine?: boolean;
};

/**
 * Runs a program without a shell and with an empty environment but for PATH. Resolves with what it said, whatever its
 * status; rejects when it cannot be started or does not end in time (it is killed then).
 */
export type Run = (program: string, args: readonly string[], options?: RunOptions) => Promise<Finished>;

/** By a fork of the daemon: for what runs seldom, or before there is a `Spawner`. */
export const run: Run = (program, args, options = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: ENVIRONMENT,
      detached: options.firstLine === true,
    });
    let stdout = '';
    let stderr = '';
    let settled = false;
    const settle = (act: () => void): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      act();
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      settle(() =>
        reject(failed(`${program} ${args[0] ?? ''} did not end within ${(options.timeoutMs ?? HELPER_TIMEOUT_MS) / 1000} s`)),
      );
    }, options.timeoutMs ?? HELPER_TIMEOUT_MS);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (stdout.length < MAX_HELPER_OUTPUT_BYTES) stdout += text;
      if (options.firstLine && stdout.includes('\n')) settle(() => resolve({ status: 0, stdout, stderr }));
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < MAX_HELPER_OUTPUT_BYTES) stderr += text;
    });
    child.on('error', (error) => settle(() => reject(failed(`cannot run ${program}`, error))));
    child.on('close', (code) => settle(() => resolve({ status: code ?? 255, stdout, stderr })));
    if (options.input !== undefined && child.stdin) {
      // A child that ends early closes its stdin; its status tells the story, not EPIPE.
      child.stdin.on('error', () => {});
      child.stdin.end(options.input);
    }
  });

/** Like `run`, and throws with the program's own words when its status is not 0. */
export const must = async (
  program: string,
  args: readonly string[],
  options: RunOptions = {},
  by: Run = run,
): Promise<Finished> => {
  const done = await by(program, args, options);
  if (done.status !== 0) {
    const said = (done.stderr || done.stdout).trim().split('\n').at(-1) ?? '';
    throw failed(`${program} ${args[0] ?? ''} failed with status ${done.status}${said ? `: ${said}` : ''}`);
  }
  return done;
};
