/** How every room writes its log lines; `createLog` is the one place that knows pino. Secrets and ticket URLs never come here. */
import { type Logger, pino, stdTimeFunctions } from 'pino';
import type { LogOutput } from './log-output.ts';

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

/** The daemon's log: JSON lines (stdout carries only the ready line). Written at once where there is room: a line is out before a crash. */
export function createLog(level: LogLevel, output: LogOutput): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      redact: { paths: SECRETS, censor: '[hidden]' },
      // Words and dates as people and log collectors read them.
      formatters: { level: (label) => ({ level: label }) },
      timestamp: stdTimeFunctions.isoTime,
    },
    output,
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
