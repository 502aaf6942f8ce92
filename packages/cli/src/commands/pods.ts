// `berth pods`: the pods.
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { age, shortId } from '../output/format.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { table } from '../output/table.ts';
import { conclude, globalsOf, newCommand, outputOption } from './command.ts';

type PodsOptions = { readonly quiet?: boolean; readonly trunc: boolean; readonly output: string };

const STATE_WORDS = ['ready', 'not ready'];

export const podsCommand = (): Command =>
  newCommand('pods', 'List pods', ['berth pods', 'berth pods -o json'])
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .addOption(outputOption())
    .action(async (options: PodsOptions, self: Command) => {
      await conclude(pods(globalsOf(self), options));
    });

async function pods(globals: Globals, { quiet = false, trunc, output }: PodsOptions): Promise<void> {
  await withDaemon(globals, async ({ lib, cri, client }) => {
    const [response, { containers }] = await Promise.all([client.runtime.listPodSandbox(), client.runtime.listContainers()]);
    const items = response.items.sort((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0));
    if (quiet) return print(items.map(({ id }) => `${id}\n`).join(''));
    if (output === 'json') return print(json(lib.messageToJson(cri.ListPodSandboxResponseSchema, response)));
    const rows = items.map((pod) => [
      trunc ? shortId(pod.id) : pod.id,
      pod.metadata?.name ?? '',
      pod.metadata?.namespace ?? '',
      STATE_WORDS[pod.state] ?? 'unknown',
      String(containers.filter(({ podSandboxId }) => podSandboxId === pod.id).length),
      age(pod.createdAt),
    ]);
    print(table(['POD', 'NAME', 'NAMESPACE', 'STATE', 'CONTAINERS', 'AGE'], rows));
  });
}
