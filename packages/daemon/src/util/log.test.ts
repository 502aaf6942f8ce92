// The log: one JSON object a line, levels, no secret, errors with their stack.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Logger } from 'pino';
import { LogOutput } from './log-output.ts';
import { createLog, type LogLevel } from './log.ts';

/** What is written by `use`, line by line. */
function written(level: LogLevel, use: (log: Logger) => void): Record<string, unknown>[] {
  const dir = mkdtempSync(join(tmpdir(), 'berth-log-'));
  const fd = openSync(join(dir, 'log'), 'w');
  use(createLog(level, new LogOutput(fd)));
  closeSync(fd);
  const lines = readFileSync(join(dir, 'log'), 'utf8').split('\n').slice(0, -1);
  rmSync(dir, { recursive: true });
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('lines have level and time in words, and the fields that were given', () => {
  const [line] = written('info', (log) => log.info({ event: 'x', count: 3 }, 'a\nb'));
  assert.deepEqual([line?.['level'], line?.['event'], line?.['count'], line?.['msg']], ['info', 'x', 3, 'a\nb']);
  assert.ok(Math.abs(Date.parse(String(line?.['time'])) - Date.now()) < 60_000);
});

test('only what the level asks for is written', () => {
  const all = (log: Logger): void => {
    for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level]({}, level);
  };
  const messages = (level: LogLevel): unknown[] => written(level, all).map(({ msg }) => msg);
  assert.deepEqual(messages('debug'), ['debug', 'info', 'warn', 'error']);
  assert.deepEqual(messages('warn'), ['warn', 'error']);
});

test('secrets are hidden, at the top and one below, children included', () => {
  const lines = written('info', (log) => {
    log.info({ secret: 'S1', ticket: 'S2', config: { secret: 'S3', url: 'S4' }, kept: 'yes' }, 'm');
    log.child({ token: 'S5' }).info({ url: 'S6' }, 'm');
  });
  const text = JSON.stringify(lines);
  assert.doesNotMatch(text, /S[1-6]/);
  assert.match(text, /yes/);
});

test('an error is written with its stack and cause', () => {
  const [line] = written('info', (log) => log.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'm'));
  const err = line?.['err'] as { message: string; stack: string };
  assert.match(err.message, /outer: inner/);
  assert.match(err.stack, /log\.test\.ts/);
});
