// `berth start`: starts created containers, and shows one if asked to.
import type { Command } from 'commander';
import { containerExitCode, exitCodeOfOutcome } from '../attach/exit-code.ts';
import { foreground } from '../attach/foreground.ts';
import { withTlsOptions } from '../attach/tls.ts';
import { findContainer, streamFacts } from '../containers/lookup.ts';
import { type Daemon, type Globals, withDaemon, withSessions } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { untilSignal } from '../terminal/signals.ts';
import { attempt } from './attempt.ts';
import { conclude, globalsOf, newCommand } from './command.ts';
import { detachKeysOption } from './detach-keys-option.ts';

type StartOptions = { readonly attach?: boolean; readonly interactive?: boolean; readonly detachKeys: Uint8Array };

const CONTAINER_CREATED = 0;
const EXIT_LAG_MS = 5_000;

export const startCommand = (): Command =>
  withTlsOptions(newCommand('start', 'Start created containers', ['berth start web db', 'berth start -a -i shell']))
    .argument('<container...>', 'names or ids')
    .option('-a, --attach', "show the output from the first byte on, and end with the container's exit code")
    .option('-i, --interactive', 'pass on stdin too (with -a)')
    .addOption(detachKeysOption())
    .action(async (references: readonly string[], options: StartOptions, self: Command) => {
      await conclude(start(globalsOf(self), references, options));
    });

async function start(globals: Globals, references: readonly string[], options: StartOptions): Promise<number> {
  const [first, ...more] = references;
  const attach = options.attach === true || options.interactive === true;
  if (attach && more.length > 0) throw new CliError('only one container can be shown; leave out -a and -i to start several');
  return await (attach ? withSessions : withDaemon)(globals, async (daemon) => {
    if (attach && first !== undefined) return await startAndShow(daemon, first, options);
    let code: number = EXIT.ok;
    for (const reference of references) {
      const started = attempt(async () => {
        await startOne(daemon, reference);
        return reference;
      });
      code = Math.max(code, await started);
    }
    return code;
  });
}

async function startOne(daemon: Daemon, reference: string): Promise<string> {
  const { id, state } = await findContainer(daemon, reference);
  if (state !== CONTAINER_CREATED) {
    throw new CliError(`"${reference}" has been started before, and containers start only once; make another with: berth run`);
  }
  await daemon.client.runtime.startContainer({ containerId: id });
  return id;
}

async function startAndShow(daemon: Daemon, reference: string, options: StartOptions): Promise<number> {
  using interrupted = untilSignal();
  const containerId = await startOne(daemon, reference);
  const { tty, stdinOnce } = await streamFacts(daemon, containerId);
  const target = { containerId, tty, stdinOnce, stdin: options.interactive === true, detachKeys: options.detachKeys };
  const outcome = await foreground(daemon, target, interrupted.signal);
  if (outcome.kind !== 'over') return await exitCodeOfOutcome(daemon, containerId, outcome);
  const code = await containerExitCode(daemon, containerId, EXIT_LAG_MS);
  if (code === undefined) throw new CliError(`"${reference}" does not say how it ended; see: berth inspect ${reference}`);
  return code;
}
