// `berth run`: makes a pod and a container, starts it and shows it.
import type { Command } from 'commander';
import { containerExitCode, exitCodeOfOutcome, Interrupted, STATE_LAG_MS } from '../attach/exit-code.ts';
import { showUntilStopped, stopContainer } from '../attach/last-words.ts';
import type { SessionTarget } from '../attach/run-session.ts';
import { withTlsOptions } from '../attach/tls.ts';
import { type LeftBehind, leftBehind } from '../containers/left-behind.ts';
import { type Made, makeContainer, type MakeOptions, removeContainer } from '../containers/make.ts';
import { LABELS } from '../containers/labels.ts';
import { type Daemon, type Globals, withDaemon, withSessions } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { print } from '../output/print.ts';
import { untilSignal } from '../terminal/signals.ts';
import { conclude, globalsOf, newCommand } from './command.ts';
import { detachKeysOption } from './detach-keys-option.ts';
import { withSpecOptions } from './spec-options.ts';

type RunOptions = MakeOptions & { readonly detach?: boolean; readonly rm?: boolean; readonly detachKeys: Uint8Array };

/** The container has ended or is about to: how long its state may take to say so. */
const EXIT_LAG_MS = 5_000;

export const runCommand = (): Command =>
  withTlsOptions(
    withSpecOptions(
      newCommand('run', 'Make a container in a pod of its own, start it and show its output from the first byte on', [
        'berth run --rm busybox echo hello',
        'berth run -it --name shell busybox        # leave it running with ctrl-p ctrl-q',
        'berth run -d --name web -v ./site:/www:ro --net host busybox httpd -f -h /www',
        'tar c . | berth run -i --rm busybox tar t',
      ]),
    ),
  )
    .option('-d, --detach', 'do not attach; print the id')
    .option('--rm', 'remove container, pod and log when the container has exited')
    .addOption(detachKeysOption())
    .action(async (image: string, command: readonly string[], options: RunOptions, self: Command) => {
      await conclude(run(globalsOf(self), image, command, options));
    });

async function run(globals: Globals, image: string, command: readonly string[], options: RunOptions): Promise<number> {
  const { detach = false, interactive = false, tty = false, rm: remove = false } = options;
  if (detach && remove)
    throw new CliError('--rm needs somebody who waits for the exit; leave out -d, or remove it later with berth rm');
  if (interactive && tty && !detach && !process.stdin.isTTY) {
    throw new CliError('-t with -i needs a terminal on stdin; leave out -t to use a pipe');
  }
  return await (detach ? withDaemon : withSessions)(globals, async (daemon) => {
    using interrupted = detach ? undefined : untilSignal();
    const made = await makeContainer(daemon, image, command, interactive && !tty && !detach, options);
    using left = remove ? leftBehind(made.name) : undefined;
    try {
      await daemon.client.runtime.startContainer({ containerId: made.id });
    } catch (error) {
      await removeMade(daemon, made);
      left?.gone();
      throw error;
    }
    if (interrupted === undefined) {
      print(`${made.id}\n`);
      return 0;
    }
    const target = { containerId: made.id, tty, stdinOnce: true, stdin: interactive, detachKeys: options.detachKeys };
    const code = await show(daemon, target, interrupted.signal).catch(async (error: unknown) => {
      // What has failed is to be told, not what this meets.
      if (left !== undefined) await removeIfOver(daemon, made, left, patienceOf(error)).catch(() => {});
      throw error;
    });
    if (left !== undefined) await removeIfOver(daemon, made, left, 0);
    return code;
  });
}

/** The container's exit status, or 0 when it was left. @throws Interrupted, and CliError where the session or its output failed. */
async function show(daemon: Daemon, target: Omit<SessionTarget, 'from'>, interrupted: AbortSignal): Promise<number> {
  const { containerId } = target;
  const outcome = await showUntilStopped(daemon, target, interrupted);
  if (outcome.kind === 'unwritable') await stopContainer(daemon, containerId);
  if (outcome.kind !== 'over') return await exitCodeOfOutcome(daemon, containerId, outcome);
  const code = await containerExitCode(daemon, containerId, EXIT_LAG_MS);
  if (code === undefined) throw new CliError('the container does not say how it ended; see: berth inspect');
  return code;
}

/** Behind a failed session the container may be about to end; behind a closed terminal nobody waits. */
const patienceOf = (error: unknown): number => (error instanceof Interrupted ? 0 : STATE_LAG_MS);

/** What runs is not killed by --rm: whoever detached, or lost the daemon, may come back to it. */
async function removeIfOver(daemon: Daemon, made: Made, left: LeftBehind, patienceMs: number): Promise<void> {
  try {
    if ((await containerExitCode(daemon, made.id, patienceMs)) === undefined) return;
  } catch (error) {
    // Somebody else has removed it.
    if (error instanceof CliError) return left.gone();
    throw error;
  }
  await removeMade(daemon, made);
  left.gone();
}

const removeMade = async (daemon: Daemon, { id, podId }: Made): Promise<void> =>
  await removeContainer(daemon, { id, podSandboxId: podId, labels: { [LABELS.madeBy]: LABELS.cli } });
