/** How every room writes its log lines; `createLog` is the one place that knows pino. Secrets and ticket URLs never come here. */
import { type Logger, pino, stdTimeFunctions } from 'pino';

/** Fields first, one sentence second; narrow, so that tests can hand in their own. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** A log that adds `fields` to every line. */
  child(fields: object): Log;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Names of fields whose values are secrets, wherever a caller may have put them. Nobody should; this is the net below. */
const SECRETS = ['secret', 'ticket', 'token', 'url'].flatMap((name) => [name, `*.${name}`]);

/**
 * The daemon's log: JSON lines on stderr (stdout carries only the ready line). Written synchronously: a line is out before a crash.
 * @param fd where to, by tests only
 */
export function createLog(level: LogLevel, fd = 2): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      redact: { paths: SECRETS, censor: '[hidden]' },
      // Words and dates as people and log collectors read them.
      formatters: { level: (label) => ({ level: label }) },
      timestamp: stdTimeFunctions.isoTime,
    },
    pino.destination({ dest: fd, sync: true }),
  );
}

/** Says nothing: for tests. */
export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLog,
};
