/** berthd's way in: arguments, signals, the ready line, the exit status. */
import type { Logger } from 'pino';
import { type Flags, HELP, parseFlags } from './config/flags.ts';
import { BERTH_VERSION } from './cri/version.ts';
import { BerthError } from './util/errors.ts';

const STDERR = 2;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** Once sessions have had their grace, calls, sessions and the streaming server are each given seconds; beyond this something hangs, and containers need nobody to wait for it. */
const SHUTDOWN_MS = 20_000;

async function main(args: readonly string[]): Promise<void> {
  const flags = parseFlags(args);
  if (flags.help) return void process.stdout.write(HELP);
  if (flags.version) return void process.stdout.write(`berthd ${BERTH_VERSION}\n`);
  await serve(flags);
}

/** Loads the rest of the program only now: help and version answer at once. */
async function serve(flags: Flags): Promise<void> {
  const { loadConfig } = await import('./config/load.ts');
  const config = await loadConfig(flags);
  const [{ startDaemon }, { hostRooms }, { createLog }, { LogOutput }] = await Promise.all([
    import('./daemon.ts'),
    import('./rooms.ts'),
    import('./util/log.ts'),
    import('./util/log-output.ts'),
  ]);
  const output = new LogOutput(STDERR);
  const log = createLog(config.logLevel, output);
  watchFailures(log);
  const stop = stopSignals();
  // Elsewhere it reopens logs, and in Node it opens a debugger to every local user, which the launcher forbids; it must not end the daemon.
  process.on('SIGUSR1', () => log.info({}, 'SIGUSR1 means nothing to berthd'));

  const daemon = await startDaemon(config, log, { ...hostRooms, logLinesLost: () => output.lost });
  const metrics = daemon.metricsUrl === undefined ? '' : ` metrics=${daemon.metricsUrl}`;
  process.stdout.write(`berthd ready socket=${daemon.socket} streaming=${daemon.streamingUrl}${metrics}\n`);

  log.info({ signal: await stop.asked, drainMs: config.streaming.drainMs }, 'stopping; containers go on');
  await daemon.drain(stop.atOnce);
  setTimeout(() => {
    log.error({}, 'stopping takes too long');
    process.exit(EXIT_FAILED);
  }, SHUTDOWN_MS).unref();
  await daemon.close();
  await output.end();
  process.exit(0);
}

type StopSignals = {
  /** The first signal: stop with all grace. */
  readonly asked: Promise<string>;
  /** The second one: sessions have had their grace. */
  readonly atOnce: AbortSignal;
};

/** A third signal ends the process where it stands. */
function stopSignals(): StopSignals {
  const asked = Promise.withResolvers<string>();
  const again = new AbortController();
  let count = 0;
  const received = (signal: string): void => {
    count += 1;
    if (count === 1) asked.resolve(signal);
    else if (count === 2) again.abort();
    else process.exit(EXIT_FAILED);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, received);
  return { asked: asked.promise, atOnce: again.signal };
}

/** A stray rejection is a bug, but no reason to end everybody's sessions; an exception that nobody caught leaves nothing to rely on. */
function watchFailures(log: Logger): void {
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
  process.on('uncaughtException', (error) => {
    // Out before the call returns, unless what reads the log is behind.
    log.fatal({ err: error }, 'uncaught exception');
    process.exit(EXIT_FAILED);
  });
  // Whoever read the ready line may close its end.
  process.stdout.on('error', () => {});
}

/** What went wrong first stands first, whatever taking down the rest then brought. */
function told(error: unknown): string {
  if (error instanceof SuppressedError)
    return `${told(error.suppressed)}\nand while taking down what was there: ${told(error.error)}`;
  if (error instanceof BerthError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`berthd: ${told(error)}\n`);
  process.exitCode = error instanceof BerthError && error.code === 'CONFIG_INVALID' ? EXIT_USAGE : EXIT_FAILED;
  // What a failed start has left open must not keep the process.
  process.exit();
}
