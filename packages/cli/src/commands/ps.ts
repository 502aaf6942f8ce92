// `berth ps`: the containers.
import type { Command } from 'commander';
import type { Container } from '@berth/cri-api';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { isNotFound } from '../errors.ts';
import { age, shortId } from '../output/format.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { table } from '../output/table.ts';
import { conclude, globalsOf, newCommand, outputOption } from './command.ts';

type PsOptions = { readonly all?: boolean; readonly quiet?: boolean; readonly trunc: boolean; readonly output: string };

const CONTAINER_RUNNING = 1;
const CONTAINER_EXITED = 2;
const STATE_WORDS = ['created', 'running', 'exited', 'unknown'];
/** Status calls under way at once: the daemon answers each in well under a millisecond. */
const PARALLEL = 16;

export const psCommand = (): Command =>
  newCommand('ps', 'List containers', ['berth ps', 'berth ps -a -o json', 'berth ps -a -q | xargs -r berth rm'])
    .option('-a, --all', 'not only those that run')
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .addOption(outputOption())
    .action(async (options: PsOptions, self: Command) => {
      await conclude(ps(globalsOf(self), options));
    });

async function ps(globals: Globals, { all = false, quiet = false, trunc, output }: PsOptions): Promise<void> {
  await withDaemon(globals, async (daemon) => {
    const { lib, cri, client } = daemon;
    const response = await client.runtime.listContainers(all ? {} : { filter: { state: { state: CONTAINER_RUNNING } } });
    const containers = response.containers.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0));
    if (quiet) return print(containers.map(({ id }) => `${id}\n`).join(''));
    if (output === 'json') return print(json(lib.messageToJson(cri.ListContainersResponseSchema, response)));
    const states = await stateWords(daemon, containers);
    const rows = containers.map((container, at) => [
      trunc ? shortId(container.id) : container.id,
      container.metadata?.name ?? '',
      container.image?.userSpecifiedImage || container.image?.image || shortId(container.imageRef),
      states[at] ?? '',
      age(container.createdAt),
      trunc ? shortId(container.podSandboxId) : container.podSandboxId,
    ]);
    print(table(['CONTAINER', 'NAME', 'IMAGE', 'STATE', 'AGE', 'POD'], rows));
  });
}

/** `exited (3)`: the list does not tell exit codes. */
async function stateWords({ client }: Daemon, containers: readonly Container[]): Promise<string[]> {
  const words = containers.map(({ state }) => STATE_WORDS[state] ?? 'unknown');
  const exited = containers.keys().filter((at) => containers[at]?.state === CONTAINER_EXITED);
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (const at of exited) {
        try {
          const { status } = await client.runtime.containerStatus({ containerId: containers[at]?.id ?? '' });
          words[at] = `exited (${status?.exitCode ?? '?'})`;
        } catch (error) {
          if (!isNotFound(error)) throw error;
          words[at] = 'removed';
        }
      }
    }),
  );
  return words;
}
