// `berth image ls`: the images.
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { shortId, size } from '../output/format.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { table } from '../output/table.ts';
import { conclude, globalsOf, newCommand, outputOption } from './command.ts';

type LsOptions = { readonly quiet?: boolean; readonly trunc: boolean; readonly output: string };

export const imageLsCommand = (): Command =>
  newCommand('ls', 'List images, a line for each name', ['berth image ls', 'berth image ls -o json'])
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .addOption(outputOption())
    .action(async (options: LsOptions, self: Command) => {
      await conclude(list(globalsOf(self), options));
    });

async function list(globals: Globals, { quiet = false, trunc, output }: LsOptions): Promise<void> {
  await withDaemon(globals, async ({ lib, cri, client }) => {
    const response = await client.image.listImages();
    if (quiet) return print(response.images.map(({ id }) => `${id}\n`).join(''));
    if (output === 'json') return print(json(lib.messageToJson(cri.ListImagesResponseSchema, response)));
    const rows = response.images.flatMap((image) =>
      (image.repoTags.length === 0 ? ['<none>'] : image.repoTags).map((name) => [
        name,
        trunc ? shortId(image.id) : image.id,
        size(image.size),
      ]),
    );
    print(
      table(
        ['IMAGE', 'ID', 'SIZE'],
        rows.sort(([a = ''], [b = '']) => (a < b ? -1 : a > b ? 1 : 0)),
      ),
    );
  });
}
