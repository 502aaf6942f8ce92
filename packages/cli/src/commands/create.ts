// `berth create`: makes a pod and a container without starting it.
import type { Command } from 'commander';
import { makeContainer, type MakeOptions } from '../containers/make.ts';
import { withDaemon } from '../daemon.ts';
import { print } from '../output/print.ts';
import { conclude, globalsOf, newCommand } from './command.ts';
import { withSpecOptions } from './spec-options.ts';

export const createCommand = (): Command =>
  withSpecOptions(
    newCommand('create', 'Make a container in a pod of its own without starting it; prints its id', [
      'berth create -it --name shell busybox',
      'berth start -a shell',
    ]),
  ).action(async (image: string, command: readonly string[], options: MakeOptions, self: Command) => {
    await conclude(
      withDaemon(globalsOf(self), async (daemon) => {
        const { id } = await makeContainer(daemon, image, command, false, options);
        print(`${id}\n`);
      }),
    );
  });
