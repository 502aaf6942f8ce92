// `berth rm`: removes containers and pods.
import type { Command } from 'commander';
import { findContainerOrPod } from '../containers/lookup.ts';
import { removeContainer, removePodAndLogs } from '../containers/make.ts';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { attempt } from './attempt.ts';
import { conclude, globalsOf, newCommand } from './command.ts';

type RmOptions = { readonly force?: boolean };

const CONTAINER_RUNNING = 1;

export const rmCommand = (): Command =>
  newCommand('rm', 'Remove containers, with pod and log when "berth run" or "berth create" made them; or pods', [
    'berth rm web',
    'berth rm -f web db',
  ])
    .argument('<container-or-pod...>', 'names or ids')
    .option('-f, --force', 'kill what runs; a name that is not there is no error')
    .action(async (references: readonly string[], options: RmOptions, self: Command) => {
      await conclude(remove(globalsOf(self), references, options));
    });

async function remove(globals: Globals, references: readonly string[], { force = false }: RmOptions): Promise<number> {
  return await withDaemon(globals, async (daemon) => {
    let code: number = EXIT.ok;
    for (const reference of references) {
      code = Math.max(code, await attempt(async () => ((await removeOne(daemon, reference, force)) ? reference : undefined)));
    }
    return code;
  });
}

async function removeOne(daemon: Daemon, reference: string, force: boolean): Promise<boolean> {
  const { runtime } = daemon.client;
  let found: Awaited<ReturnType<typeof findContainerOrPod>>;
  try {
    found = await findContainerOrPod(daemon, reference);
  } catch (error) {
    if (force && error instanceof CliError && error.message.startsWith('there is no')) return false;
    throw error;
  }
  if ('container' in found) {
    const { container } = found;
    if (container.state === CONTAINER_RUNNING) {
      if (!force) throw new CliError(`"${reference}" is running; stop it with "berth stop ${reference}", or use rm -f`);
      await runtime.stopContainer({ containerId: container.id, timeout: 0n });
    }
    await removeContainer(daemon, container);
    return true;
  }
  const { containers } = await runtime.listContainers({ filter: { podSandboxId: found.pod.id } });
  const running = containers.filter(({ state }) => state === CONTAINER_RUNNING);
  if (running.length > 0 && !force) {
    throw new CliError(
      `pod "${reference}" has ${running.length} running container(s); stop it with "berth stop ${reference}", or use rm -f`,
    );
  }
  await removePodAndLogs(daemon, found.pod, containers);
  return true;
}
