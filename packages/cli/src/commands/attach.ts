// `berth attach`: holds the stdin, stdout, stderr and terminal of a running container.
import { type Command, Option } from 'commander';
import { exitCodeOfOutcome } from '../attach/exit-code.ts';
import { runSession } from '../attach/run-session.ts';
import { withTlsOptions } from '../attach/tls.ts';
import { findContainer, streamFacts } from '../containers/lookup.ts';
import { type Globals, withSessions } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { untilSignal } from '../terminal/signals.ts';
import { conclude, globalsOf, newCommand } from './command.ts';
import { detachKeysOption } from './detach-keys-option.ts';

type AttachOptions = { readonly stdin: boolean; readonly from: 'now' | 'start'; readonly detachKeys: Uint8Array };

const CONTAINER_RUNNING = 1;
const STATE_WORDS = ['created', 'running', 'exited', 'unknown'];

export const attachCommand = (): Command =>
  withTlsOptions(
    newCommand('attach', 'Attach to the init process of a running container', [
      'berth attach shell                        # leave with ctrl-p ctrl-q',
      "printf 'list\\n' | berth attach console    # prints the answer, the container goes on",
      'berth attach --no-stdin --from start web | less',
    ]),
  )
    .argument('<container>', 'name or id')
    .option('--no-stdin', 'only watch')
    .addOption(
      new Option('--from <where>', "show the output from now, or from the container's start")
        .choices(['now', 'start'])
        .default('now'),
    )
    .addOption(detachKeysOption())
    .action(async (reference: string, options: AttachOptions, self: Command) => {
      await conclude(attach(globalsOf(self), reference, options));
    });

async function attach(globals: Globals, reference: string, { stdin, from, detachKeys }: AttachOptions): Promise<number> {
  return await withSessions(globals, async (daemon) => {
    using interrupted = untilSignal();
    const { id: containerId, state } = await findContainer(daemon, reference);
    if (state !== CONTAINER_RUNNING) {
      const hint = state === 0 ? `start it with: berth start -a ${reference}` : `see what it wrote with: berth logs ${reference}`;
      throw new CliError(`"${reference}" is not running but ${STATE_WORDS[state] ?? 'unknown'}; ${hint}`);
    }
    const { tty, stdinOnce } = await streamFacts(daemon, containerId);
    const outcome = await runSession(daemon, { containerId, tty, stdinOnce, stdin, from, detachKeys }, interrupted.signal);
    return await exitCodeOfOutcome(daemon, containerId, outcome);
  });
}
