// `berth logs`: what a container has written, from its log file.
import { isatty } from 'node:tty';
import { finished as streamEnd } from 'node:stream/promises';
import type { Command } from 'commander';
import { Interrupted } from '../attach/exit-code.ts';
import { findContainer } from '../containers/lookup.ts';
import { type Globals, withDaemon } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { EXIT, EXIT_SIGNAL_BASE } from '../exit-codes.ts';
import { showLog } from '../logs/show-log.ts';
import { endOf, logAppears } from '../logs/until-ended.ts';
import { FdWriter } from '../terminal/fd-writer.ts';
import { untilSignal } from '../terminal/signals.ts';
import { conclude, globalsOf, newCommand, wholeNumber } from './command.ts';

type LogsOptions = { readonly follow?: boolean; readonly tail?: number; readonly timestamps?: boolean; readonly raw?: boolean };

const STDOUT = 1;
const STDERR = 2;
const SIGPIPE = 13;
const CONTAINER_CREATED = 0;

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
    const over = new AbortController();
    const { id, state } = await findContainer(daemon, reference);
    const path = (await daemon.client.runtime.containerStatus({ containerId: id })).status?.logPath ?? '';
    if (path === '') throw new CliError(`"${reference}" has no log: it, or its pod, was made without a path for one`);
    const finished = options.follow === true ? endOf(daemon, id, over.signal) : undefined;
    try {
      if (finished !== undefined) await logAppears(path, finished, interrupted.signal);
      if (!(await show(path, options, finished, interrupted.signal))) {
        throw new CliError('parts of the log are missing: it was rotated away faster than it was read');
      }
    } catch (error) {
      if (interrupted.signal.aborted) throw new Interrupted(interrupted.signal.reason as NodeJS.Signals);
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') return EXIT_SIGNAL_BASE + SIGPIPE;
      if (code !== 'ENOENT') throw error;
      const wait = `it was not started yet; wait for it with: berth logs -f ${reference}`;
      throw new CliError(`"${reference}" has no log: ${state === CONTAINER_CREATED ? wait : `${path} was removed`}`);
    } finally {
      over.abort();
    }
    return EXIT.ok;
  });
}

/** Shows it on stdout and stderr; whether it was complete. */
async function show(
  path: string,
  options: LogsOptions,
  finished: (() => Promise<boolean>) | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const sinks = { stdout: new FdWriter(STDOUT), stderr: new FdWriter(STDERR) };
  const closed = Promise.all([streamEnd(sinks.stdout), streamEnd(sinks.stderr)]);
  closed.catch(() => {});
  const shown = showLog(path, sinks, {
    tail: options.tail,
    timestamps: options.timestamps ?? false,
    harmless: { stdout: options.raw !== true && isatty(STDOUT), stderr: options.raw !== true && isatty(STDERR) },
    finished,
    signal,
  });
  await Promise.race([shown, closed]);
  signal.throwIfAborted();
  sinks.stdout.end();
  sinks.stderr.end();
  await closed;
  return await shown;
}
