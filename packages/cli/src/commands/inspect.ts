// `berth inspect`: everything the daemon knows of containers and pods, as JSON.
import type { Command } from 'commander';
import { findContainerOrPod } from '../containers/lookup.ts';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { conclude, globalsOf, newCommand } from './command.ts';

export const inspectCommand = (): Command =>
  newCommand('inspect', 'Show containers and pods in full, as a JSON array', [
    'berth inspect shell',
    "berth inspect shell | jq -r '.[0].status.logPath'",
  ])
    .argument('<container-or-pod...>', 'names or ids')
    .action(async (references: readonly string[], _options: object, self: Command) => {
      await conclude(inspect(globalsOf(self), references));
    });

async function inspect(globals: Globals, references: readonly string[]): Promise<void> {
  await withDaemon(globals, async (daemon) => {
    const all: unknown[] = [];
    for (const reference of references) all.push(await inspectOne(daemon, reference));
    print(json(all));
  });
}

async function inspectOne(daemon: Daemon, reference: string): Promise<object> {
  const { lib, cri, client } = daemon;
  const found = await findContainerOrPod(daemon, reference);
  if ('container' in found) {
    const { status, info } = await client.runtime.containerStatus({ containerId: found.container.id, verbose: true });
    return { status: status && lib.messageToJson(cri.ContainerStatusSchema, status), info: readInfo(info) };
  }
  const { status, info } = await client.runtime.podSandboxStatus({ podSandboxId: found.pod.id, verbose: true });
  return { status: status && lib.messageToJson(cri.PodSandboxStatusSchema, status), info: readInfo(info) };
}

/** Verbose information is JSON in a string by convention, not by contract. */
export function readInfo(info: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(info).map(([key, text]): [string, unknown] => {
      try {
        return [key, JSON.parse(text)];
      } catch {
        return [key, text];
      }
    }),
  );
}
