// `berth logs`: what a container has written, from its log file.
import { isatty } from 'node:tty';
import { finished } from 'node:stream/promises';
import type { Command } from 'commander';
import { Interrupted } from '../attach/exit-code.ts';
import { findContainer } from '../containers/lookup.ts';
import { type Daemon, type Globals, withDaemon } from '../daemon.ts';
import { CliError, isNotFound } from '../errors.ts';
import { EXIT, EXIT_SIGNAL_BASE } from '../exit-codes.ts';
import { showLog } from '../logs/show-log.ts';
import { FdWriter } from '../terminal/fd-writer.ts';
import { untilSignal } from '../terminal/signals.ts';
import { conclude, globalsOf, newCommand, wholeNumber } from './command.ts';

type LogsOptions = { readonly follow?: boolean; readonly tail?: number; readonly timestamps?: boolean; readonly raw?: boolean };

const STDOUT = 1;
const STDERR = 2;
const SIGPIPE = 13;
const CONTAINER_RUNNING = 1;
const CONTAINER_CREATED = 0;
/** How often the daemon is asked whether a followed container still runs; its log is looked at ten times as often. */
const STATE_INTERVAL_MS = 1_000;

export const logsCommand = (): Command =>
  newCommand('logs', "Show a container's log", [
    'berth logs web',
    'berth logs -f --tail 20 --timestamps web',
    'berth logs web > all.txt',
  ])
    .argument('<container>', 'name or id')
    .option('-f, --follow', 'go on until the container ends')
    .option('--tail <lines>', 'only the last lines', wholeNumber('--tail'))
    .option('--timestamps', 'when each line was written')
    .option('--raw', 'control sequences as they are, on a terminal too')
    .action(async (reference: string, options: LogsOptions, self: Command) => {
      await conclude(logs(globalsOf(self), reference, options));
    });

async function logs(globals: Globals, reference: string, options: LogsOptions): Promise<number> {
  return await withDaemon(globals, async (daemon) => {
    using interrupted = untilSignal();
    const { id } = await findContainer(daemon, reference);
    const path = (await daemon.client.runtime.containerStatus({ containerId: id })).status?.logPath ?? '';
    if (path === '') throw new CliError(`"${reference}" has no log: it, or its pod, was made without a path for one`);
    const sinks = { stdout: new FdWriter(STDOUT), stderr: new FdWriter(STDERR) };
    const closed = Promise.all([finished(sinks.stdout), finished(sinks.stderr)]);
    closed.catch(() => {});
    const show = showLog(path, sinks, {
      tail: options.tail,
      timestamps: options.timestamps ?? false,
      harmless: { stdout: options.raw !== true && isatty(STDOUT), stderr: options.raw !== true && isatty(STDERR) },
      finished: options.follow === true ? finishedOf(daemon, id) : undefined,
      signal: interrupted.signal,
    });
    try {
      await Promise.race([show, closed]);
      if (interrupted.signal.aborted) throw new Interrupted(interrupted.signal.reason as NodeJS.Signals);
      sinks.stdout.end();
      sinks.stderr.end();
      await closed;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') return EXIT_SIGNAL_BASE + SIGPIPE;
      if (code === 'ENOENT') throw new CliError(`"${reference}" has written no log yet, or ${path} was removed`);
      throw error;
    }
    return EXIT.ok;
  });
}

/** Whether the container has ended, asked seldom enough. */
function finishedOf({ client }: Daemon, containerId: string): () => Promise<boolean> {
  let next = 0;
  return async () => {
    if (performance.now() < next) return false;
    next = performance.now() + STATE_INTERVAL_MS;
    try {
      const { status } = await client.runtime.containerStatus({ containerId });
      return status?.state !== CONTAINER_RUNNING && status?.state !== CONTAINER_CREATED;
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  };
}
