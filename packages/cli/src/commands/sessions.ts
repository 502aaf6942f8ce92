// `berth sessions`: who holds which container's streams.
import type { Session } from '@berth/cri-api/berth';
import type { Command } from 'commander';
import { type Globals, withDaemon } from '../daemon.ts';
import { age, shortId, size } from '../output/format.ts';
import { json } from '../output/json.ts';
import { print } from '../output/print.ts';
import { table } from '../output/table.ts';
import { conclude, globalsOf, newCommand, outputOption } from './command.ts';
import { sessionsKillCommand } from './sessions-kill.ts';

type SessionsOptions = { readonly quiet?: boolean; readonly trunc: boolean; readonly output: string };

const HEADINGS = ['SESSION', 'KIND', 'TARGET', 'ID', 'REMOTE', 'PROTOCOL', 'STREAMS', 'AGE', 'IN', 'OUT', 'LAG'];

export const sessionsCommand = (): Command =>
  newCommand('sessions', 'List the attach, exec and port-forward sessions that run, or end one', [
    'berth sessions',
    'berth sessions -o json',
    'berth sessions kill 3f9a',
  ])
    .enablePositionalOptions()
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids of containers and pods')
    .addOption(outputOption())
    .action(async (options: SessionsOptions, self: Command) => {
      await conclude(sessions(globalsOf(self), options));
    })
    .addCommand(sessionsKillCommand());

async function sessions(globals: Globals, { quiet = false, trunc, output }: SessionsOptions): Promise<void> {
  await withDaemon(globals, async ({ lib, client }) => {
    const { ListSessionsResponseSchema } = await import('@berth/cri-api/berth');
    const response = await client.sessions.list();
    if (quiet) return print(response.sessions.map(({ id }) => `${id}\n`).join(''));
    if (output === 'json') return print(json(lib.messageToJson(ListSessionsResponseSchema, response)));
    print(
      table(
        HEADINGS,
        response.sessions.map((session) => row(session, trunc)),
      ),
    );
  });
}

function row(session: Session, trunc: boolean): string[] {
  const { id, kind, containerName, podName, containerId, podId, remote, protocol, startedAt, bytesIn, bytesOut, lagBytes } =
    session;
  const targetId = containerId || podId;
  return [
    id,
    kind,
    containerName || podName || '-',
    trunc ? shortId(targetId) : targetId,
    remote,
    protocol || '-',
    streams(session),
    age(startedAt),
    size(bytesIn),
    size(bytesOut),
    lagBytes === undefined ? '-' : size(lagBytes),
  ];
}

/** `stdin,stdout tty`, the program of an exec, the ports of a port-forward. */
function streams({ kind, streams: asked, tty, ports, command }: Session): string {
  if (kind === 'portforward') return ports.length === 0 ? 'any port' : ports.join(',');
  return [asked.join(','), ...(tty ? ['tty'] : []), ...(command === '' ? [] : [`(${command})`])].join(' ');
}
