// `berth stop`: asks containers to end, and makes them after a while.
import type { Command } from 'commander';
import { findContainerOrPod } from '../containers/lookup.ts';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { print } from '../output/print.ts';
import { conclude, globalsOf, newCommand, wholeNumber } from './command.ts';

type StopOptions = { readonly time: number };

const DEFAULT_SECONDS = 10;
const MS_PER_SECOND = 1_000;
/** What the daemon may take on top of the grace period. */
const MARGIN_MS = 60_000;

export const stopCommand = (): Command =>
  newCommand('stop', 'Stop containers: their stop signal, then SIGKILL; a pod stops with all its containers', [
    'berth stop web',
    'berth stop -t 0 web db',
  ])
    .argument('<container-or-pod...>', 'names or ids')
    .option('-t, --time <seconds>', 'how long to wait before SIGKILL', wholeNumber('--time'), DEFAULT_SECONDS)
    .action(async (references: readonly string[], options: StopOptions, self: Command) => {
      await conclude(stop(globalsOf(self), references, options));
    });

async function stop(globals: Globals, references: readonly string[], { time }: StopOptions): Promise<void> {
  await withDaemon(globals, async (daemon) => {
    const targets = [];
    for (const reference of references) targets.push(await findContainerOrPod(daemon, reference));
    await Promise.all(targets.map(async (target) => await stopOne(daemon, target, time)));
    print(references.map((reference) => `${reference}\n`).join(''));
  });
}

async function stopOne({ client }: Daemon, target: Awaited<ReturnType<typeof findContainerOrPod>>, seconds: number): Promise<void> {
  const options = { timeoutMs: seconds * MS_PER_SECOND + MARGIN_MS };
  if ('container' in target) {
    await client.runtime.stopContainer({ containerId: target.container.id, timeout: BigInt(seconds) }, options);
  } else {
    await client.runtime.stopPodSandbox({ podSandboxId: target.pod.id }, options);
  }
}
