// `berth sessions kill`: ends sessions; the containers go on.
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { isNotFound, sentenceOf } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { complain, print } from '../output/print.ts';
import { conclude, globalsOf, newCommand } from './command.ts';

export const sessionsKillCommand = (): Command =>
  newCommand('kill', 'End sessions; their clients are told who did it, the containers go on', [
    'berth sessions kill 3f9a51c0d2e7',
    'berth sessions kill $(berth sessions -q)',
  ])
    .argument('<session...>', 'ids, or beginnings of them')
    .action(async (ids: readonly string[], _options: object, self: Command) => {
      await conclude(kill(globalsOf(self), ids));
    });

/** One that has ended meanwhile does not save the others; it still is a failure to say so. */
async function kill(globals: Globals, ids: readonly string[]): Promise<number> {
  return await withDaemon(globals, async ({ client }) => {
    let code: number = EXIT.ok;
    for (const id of ids) {
      try {
        const { session } = await client.sessions.kill({ id, by: whoAmI() });
        print(`${session?.id ?? id}\n`);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        complain(`berth: ${sentenceOf(error)}`);
        code = EXIT.failure;
      }
    }
    return code;
  });
}

/** For the client's status and the audit line: behind `sudo` the person, not root. */
function whoAmI(): string {
  const username = userName();
  const behind = process.env['SUDO_USER'];
  return behind === undefined || behind === '' || behind === username ? username : `${behind} (${username})`;
}

/** A user id need not have a name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? '?'}`;
  }
}
