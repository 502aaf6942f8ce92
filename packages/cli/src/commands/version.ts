// `berth version`: of this program and of the daemon.
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { table } from '../output/table.ts';
import { BERTH_VERSION } from '../version.ts';
import { conclude, globalsOf, newCommand, outputOption } from './command.ts';

export const versionCommand = (): Command =>
  newCommand('version', 'Show the versions of berth and of the daemon', ['berth version', 'berth version -o json'])
    .addOption(outputOption())
    .action(async ({ output }: { output: string }, self: Command) => {
      await conclude(version(globalsOf(self), output));
    });

async function version(globals: Globals, output: string): Promise<void> {
  await withDaemon(globals, async ({ lib, cri, client }) => {
    const daemon = await client.runtime.version();
    if (output === 'json') {
      return print(json({ client: { version: BERTH_VERSION }, daemon: lib.messageToJson(cri.VersionResponseSchema, daemon) }));
    }
    print(
      table(
        ['', 'NAME', 'VERSION', 'API'],
        [
          ['client', 'berth', BERTH_VERSION, 'v1'],
          ['daemon', daemon.runtimeName, daemon.runtimeVersion, daemon.runtimeApiVersion],
        ],
      ),
    );
  });
}
