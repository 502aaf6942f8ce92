// `berth info`: what the daemon says of itself and its host.
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { table } from '../output/table.ts';
import { size } from '../output/format.ts';
import { conclude, globalsOf, newCommand, outputOption } from './command.ts';
import { readInfo } from './inspect.ts';

const CONTAINER_RUNNING = 1;

export const infoCommand = (): Command =>
  newCommand('info', 'Show what the daemon says of itself', ['berth info', 'berth info -o json'])
    .addOption(outputOption())
    .action(async ({ output }: { output: string }, self: Command) => {
      await conclude(info(globalsOf(self), output));
    });

async function info(globals: Globals, output: string): Promise<void> {
  await withDaemon(globals, async ({ lib, cri, client }) => {
    const [version, response, { items: pods }, { containers }, { images }] = await Promise.all([
      client.runtime.version(),
      client.runtime.status({ verbose: true }),
      client.runtime.listPodSandbox(),
      client.runtime.listContainers(),
      client.image.listImages(),
    ]);
    const running = containers.filter(({ state }) => state === CONTAINER_RUNNING).length;
    if (output === 'json') {
      return print(
        json({
          version: lib.messageToJson(cri.VersionResponseSchema, version),
          status: response.status && lib.messageToJson(cri.RuntimeStatusSchema, response.status),
          counts: { pods: pods.length, containers: containers.length, running, images: images.length },
          info: readInfo(response.info),
        }),
      );
    }
    const conditions = (response.status?.conditions ?? []).map(({ type, status, message }): [string, string] => [
      type,
      `${status ? 'yes' : 'no'}${message === '' ? '' : `: ${message}`}`,
    ]);
    print(
      table(
        ['WHAT', 'VALUE'],
        [
          ['daemon', `${version.runtimeName} ${version.runtimeVersion} at ${globals.socket}`],
          ...conditions,
          ['pods', String(pods.length)],
          ['containers', `${containers.length}, ${running} running`],
          ['images', `${images.length}, ${size(images.reduce((sum, image) => sum + image.size, 0n))}`],
        ],
      ),
    );
  });
}
