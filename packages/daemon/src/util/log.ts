/** How every room writes its log lines; `createLog` is the one place that knows pino. Secrets and ticket URLs never come here. */
import { type Logger, pino } from 'pino';

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

/** The daemon's log: JSON lines on stderr (stdout carries only the ready line). Written synchronously: a line is out before a crash. */
export function createLog(level: LogLevel): Logger {
  return pino(
    { level, base: { pid: process.pid }, redact: { paths: ['secret', '*.secret', 'ticket', '*.ticket'], censor: '[hidden]' } },
    pino.destination({ dest: 2, sync: true }),
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
