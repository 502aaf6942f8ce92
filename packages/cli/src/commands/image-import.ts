// `berth image import`: sends an archive to the daemon.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { Interrupted } from '../attach/exit-code.ts';
import { type Globals, withDaemon } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { print } from '../output/print.ts';
import { visible } from '../output/visible.ts';
import { untilSignal } from '../terminal/signals.ts';
import { collect, conclude, globalsOf, newCommand } from './command.ts';

type ImportOptions = { readonly name?: readonly string[] };

export const imageImportCommand = (): Command =>
  newCommand('import', 'Import the tar of a root file system, an OCI archive or a docker-archive, plain or compressed', [
    'berth image import rootfs.tar.gz --name base --name base:1',
    'docker save app | berth image import -',
  ])
    .argument('<file>', 'the archive, or - for stdin')
    .option('--name <name>', 'name of the image (default: those in the archive)', collect)
    .action(async (file: string, options: ImportOptions, self: Command) => {
      await conclude(importFile(globalsOf(self), file, options));
    });

async function importFile(globals: Globals, file: string, { name: names = [] }: ImportOptions): Promise<void> {
  if (file === '-' && process.stdin.isTTY) throw new CliError('stdin is a terminal; give the archive by a pipe, or its path');
  const source = file === '-' ? process.stdin : await openFile(file);
  await withDaemon(globals, async ({ client }) => {
    using interrupted = untilSignal();
    try {
      const image = await client.image.import(source, names, { signal: interrupted.signal });
      print([image.id, ...image.names].map((line) => `${visible(line)}\n`).join(''));
    } catch (error) {
      if (interrupted.signal.aborted) throw new Interrupted(interrupted.signal.reason as NodeJS.Signals);
      throw error;
    } finally {
      source.destroy();
    }
  });
}

async function openFile(file: string): Promise<ReturnType<typeof createReadStream>> {
  try {
    if ((await stat(file)).isDirectory())
      throw new CliError(`${file} is a directory; give an archive, for example: tar c -C ${file} . | berth image import -`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new CliError(`there is no file ${file}`);
    throw error;
  }
  return createReadStream(file, { highWaterMark: 256 * 1024 });
}
