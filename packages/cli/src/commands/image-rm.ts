// `berth image rm`: removes names of images, and images with their last one.
import type { Command } from 'commander';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { attempt } from './attempt.ts';
import { conclude, globalsOf, newCommand } from './command.ts';

export const imageRmCommand = (): Command =>
  newCommand('rm', 'Remove images by name or id', ['berth image rm alpine:3.22'])
    .argument('<image...>', 'names or ids')
    .action(async (references: readonly string[], _options: object, self: Command) => {
      await conclude(remove(globalsOf(self), references));
    });

async function remove(globals: Globals, references: readonly string[]): Promise<number> {
  return await withDaemon(globals, async (daemon) => {
    let code: number = EXIT.ok;
    for (const reference of references) code = Math.max(code, await attempt(async () => await removeOne(daemon, reference)));
    return code;
  });
}

async function removeOne({ client }: Daemon, reference: string): Promise<string> {
  // CRI calls the removal of what is not there a success; somebody who has mistyped a name wants to know.
  const { image } = await client.image.imageStatus({ image: { image: reference } });
  if (image === undefined) throw new CliError(`there is no image "${reference}"; see all with: berth image ls`);
  await client.image.removeImage({ image: { image: reference } });
  return reference;
}
