// `berth sessions kill`: ends sessions; the containers go on.
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { EXIT } from '../exit-codes.ts';
import { attempt } from './attempt.ts';
import { conclude, globalsOf, newCommand } from './command.ts';

export const sessionsKillCommand = (): Command =>
  newCommand('kill', 'End sessions; their clients are told who did it, the containers go on', [
    'berth sessions kill 3f9a51c0d2e7',
    'berth sessions -q | xargs -r berth sessions kill',
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
      const killed = attempt(async () => (await client.sessions.kill({ id, by: whoAmI() })).session?.id ?? id);
      code = Math.max(code, await killed);
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
