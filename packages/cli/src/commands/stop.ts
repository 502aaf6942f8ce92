// `berth stop`: asks containers to end, and makes them after a while.
import type { Command } from 'commander';
import { findContainerOrPod } from '../containers/lookup.ts';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { attempt } from './attempt.ts';
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

async function stop(globals: Globals, references: readonly string[], { time }: StopOptions): Promise<number> {
  return await withDaemon(globals, async (daemon) => {
    const stopped = references.map((reference) => attempt(async () => await stopOne(daemon, reference, time)));
    return Math.max(...(await Promise.all(stopped)));
  });
}

async function stopOne(daemon: Daemon, reference: string, seconds: number): Promise<string> {
  const { client } = daemon;
  const target = await findContainerOrPod(daemon, reference);
  const options = { timeoutMs: seconds * MS_PER_SECOND + MARGIN_MS };
  if ('container' in target) {
    await client.runtime.stopContainer({ containerId: target.container.id, timeout: BigInt(seconds) }, options);
  } else {
    await client.runtime.stopPodSandbox({ podSandboxId: target.pod.id }, options);
  }
  return reference;
}
