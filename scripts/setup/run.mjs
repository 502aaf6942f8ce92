/** Running other programs from set-up: output is shown when something goes wrong, signals are passed on. */
import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { projectNode, root } from './paths.mjs';
import { SetupError } from './say.mjs';

/** What a build or an installation may print before it is cut, bytes: apt and npm stay far below it. */
const MAX_OUTPUT = 64 * 1024 * 1024;

/**
 * Runs a program to its end.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 * @returns {{ ok: boolean, output: string }} both streams, in no particular order
 */
export function attempt(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: options.cwd ?? root,
    env: options.env ?? process.env,
    encoding: 'utf8',
    maxBuffer: MAX_OUTPUT,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const reason = result.error === undefined ? '' : `${result.error.message}\n`;
  return { ok: result.status === 0, output: `${reason}${result.stdout ?? ''}${result.stderr ?? ''}` };
}

/**
 * Like `attempt`, but a failure ends set-up with what the program printed.
 * @param {string} what names the step in the message
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 */
export function must(what, command, args, options) {
  const result = attempt(command, args, options);
  if (!result.ok) throw new SetupError(`${what} failed:\n${result.output.trimEnd()}`);
  return result.output;
}

/**
 * Replaces this program, as far as Node 20 can: runs the project's Node with the terminal handed over, passes signals on, and
 * ends as it ends. By absolute path, because a shell may remember where the older `node` was.
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @param {readonly string[]} [before] a command that ends by executing what follows it, as `env` does
 * @returns {Promise<never>}
 */
export function becomeProjectNode(args, env = process.env, before = []) {
  const [command, ...rest] = [...before, projectNode, ...args];
  const child = spawn(command, rest, { cwd: process.cwd(), env, stdio: 'inherit' });
  // The terminal sends SIGINT to the child as well; there the child decides, and this process must outlive it to report how it ended.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) {
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(/** @type {NodeJS.Signals} */ (signal));
    });
  }
  return new Promise((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
  });
}
