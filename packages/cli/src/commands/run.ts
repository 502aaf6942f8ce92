// `berth run`: makes a pod and a container, starts it and shows it.
import type { Command } from 'commander';
import { containerExitCode, exitCodeOfOutcome } from '../attach/exit-code.ts';
import { foreground } from '../attach/foreground.ts';
import { withTlsOptions } from '../attach/tls.ts';
import type { Outcome } from '../attach/run-session.ts';
import { type Made, makeContainer, type MakeOptions, removeContainer } from '../containers/make.ts';
import { LABELS } from '../containers/labels.ts';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { complain, print } from '../output/print.ts';
import { untilSignal } from '../terminal/signals.ts';
import { conclude, globalsOf, newCommand } from './command.ts';
import { detachKeysOption } from './detach-keys-option.ts';
import { withSpecOptions } from './spec-options.ts';

type RunOptions = MakeOptions & { readonly detach?: boolean; readonly rm?: boolean; readonly detachKeys: Uint8Array };

/** How long a container may take to end after a signal to `berth run` before it is killed. */
const STOP_SECONDS = 10n;
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
  return await withDaemon(globals, async (daemon) => {
    using interrupted = detach ? undefined : untilSignal();
    const made = await makeContainer(daemon, image, command, interactive && !tty && !detach, options);
    try {
      await daemon.client.runtime.startContainer({ containerId: made.id });
    } catch (error) {
      await removeMade(daemon, made);
      throw error;
    }
    if (interrupted === undefined) {
      print(`${made.id}\n`);
      return 0;
    }
    const target = { containerId: made.id, tty, stdin: interactive, detachKeys: options.detachKeys };
    const outcome = await foreground(daemon, target, interrupted.signal);
    return await conclusion(daemon, made, outcome, remove);
  });
}

async function conclusion(daemon: Daemon, made: Made, outcome: Outcome | { kind: 'over' }, remove: boolean): Promise<number> {
  if (outcome.kind === 'detached' || (outcome.kind === 'signal' && outcome.name === 'SIGHUP')) {
    // A closed terminal is no wish to end the container.
    if (remove) complain(`berth: the container goes on; remove it later with: berth rm -f ${made.name}`);
    return await exitCodeOfOutcome(daemon, made.id, outcome);
  }
  if (outcome.kind === 'signal' || outcome.kind === 'reader-gone') {
    await daemon.client.runtime.stopContainer({ containerId: made.id, timeout: STOP_SECONDS });
    if (remove) await removeMade(daemon, made);
    return await exitCodeOfOutcome(daemon, made.id, outcome);
  }
  // A session that failed throws here: the container may go on, so --rm leaves it.
  const code =
    outcome.kind === 'over'
      ? await containerExitCode(daemon, made.id, EXIT_LAG_MS)
      : await exitCodeOfOutcome(daemon, made.id, outcome);
  if (remove) await removeMade(daemon, made);
  if (code === undefined) throw new CliError('the container does not say how it ended; see: berth inspect');
  return code;
}

const removeMade = async (daemon: Daemon, { id, podId }: Made): Promise<void> =>
  await removeContainer(daemon, { id, podSandboxId: podId, labels: { [LABELS.madeBy]: LABELS.cli } });
