// The program in processes of its own, and what plays containers for it in the fake daemon.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CHANNEL, failureStatus } from '@berth/attach-protocol';
import type { FakeDaemon, FakeProgram } from '../../../client/src/testing/fake-daemon.ts';

export const MAIN = new URL('../main.ts', import.meta.url).pathname;
/** Some hundred processes start the same program. */
const COMPILE_CACHE = await mkdtemp(join(tmpdir(), 'berth-cache-'));
after(async () => await rm(COMPILE_CACHE, { recursive: true, force: true }));

/** Programs by the first argument of a container's command. */
export const PROGRAMS: Readonly<Record<string, FakeProgram>> = {
  talk: {
    attached: (s) => {
      s.send(CHANNEL.stdout, s.from === 'start' ? 'first\n' : 'late\n');
      s.send(CHANNEL.stderr, 'warning\n');
      setTimeout(() => s.exit(7), 100);
    },
  },
  quick: {
    start: (container, log) => {
      log('stdout P hel');
      log('stderr F oops');
      log('stdout F lo');
      log('stdout P end');
      Object.assign(container, { state: 2, exitCode: 9 });
    },
  },
  cat: {
    message: (s, channel, payload) => {
      if (channel === CHANNEL.stdin) s.send(CHANNEL.stdout, payload);
      if (channel !== CHANNEL.close) return;
      if (s.container.config.stdinOnce) s.exit(0);
      else s.end();
    },
  },
  // Nobody speaks TLS there.
  unreachable: { scheme: 'https' },
  drop: {
    attached: (s) => {
      s.send(CHANNEL.stdout, 'half a li');
      setTimeout(() => s.socket.terminate(), 100);
    },
  },
  // More than the pipe of a reader that waits takes: the tail stands here when the failure comes.
  fallBehind: {
    attached: (s) => {
      for (let i = 0; i < 20; i += 1) s.send(CHANNEL.stdout, Buffer.alloc(10_000, 't'));
      s.end(failureStatus('too far behind', 'LagLimit'));
    },
  },
  fail: { attached: (s) => s.end(failureStatus('reader fell \x1b[31m too far behind')) },
  yes: {
    attached: (s) => {
      const block = Buffer.concat([Buffer.of(CHANNEL.stdout), Buffer.alloc(8192, 'y\n')]);
      const more = (): void => s.socket.send(block, (error) => error ?? setImmediate(more));
      more();
    },
  },
  numbers: {
    attached: (s) => {
      let text = '';
      for (let i = 0; i < 200_000; i += 1) text += `${i}\n`;
      for (let at = 0; at < text.length; at += 30_000) s.send(CHANNEL.stdout, text.slice(at, at + 30_000));
      s.exit(0);
    },
  },
  wait: {},
  /** Says what it has been told to end, and ends. */
  words: {
    attached: (s) => {
      s.send(CHANNEL.stdout, 'up\n');
      const timer = setInterval(() => {
        if (s.container.state !== 2) return;
        clearInterval(timer);
        s.send(CHANNEL.stdout, 'got it\n');
        s.end();
      }, 50);
    },
  },
  /** Ends while its session fails. */
  broken: {
    attached: (s) => {
      Object.assign(s.container, { state: 2, exitCode: 4 });
      s.end(failureStatus('the supervisor is gone'));
    },
  },
};

export type Done = { readonly code: number | null; readonly signal: string | null; readonly out: string; readonly err: string };

export function start(daemon: FakeDaemon, args: readonly string[], stdio: StdioOptions = 'pipe'): ChildProcess {
  return spawn(process.execPath, ['--conditions=source', MAIN, ...args], {
    stdio,
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      BERTH_SOCKET: daemon.socket,
      BERTH_LOG_DIR: join(daemon.dir, 'logs'),
    },
  });
}

export async function ended(child: ChildProcess): Promise<Done> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => (out += String(chunk)));
  child.stderr?.on('data', (chunk) => (err += String(chunk)));
  await once(child, 'close');
  return { code: child.exitCode, signal: child.signalCode, out, err };
}

export async function berth(daemon: FakeDaemon, args: readonly string[], input = ''): Promise<Done> {
  const child = start(daemon, args);
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  return await ended(child);
}

export async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !what(); i += 1) await sleep(10);
  assert.ok(what(), `never: ${what.toString()}`);
}
