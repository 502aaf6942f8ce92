/** Runs the real crictl against a test's daemon. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestDaemon } from './daemon.ts';
import { Terminal } from './terminal.ts';

/** Path of a binary of cri-tools; .ci/run builds them and says where they are. */
export function criTool(name: 'crictl' | 'critest'): string {
  const variable = `BERTH_${name.toUpperCase()}`;
  const path = process.env[variable];
  if (path === undefined) throw new Error(`${variable} must name a ${name} binary; .ci/run builds one`);
  return path;
}

/** Flags of both tools. An own, empty settings file: without one they warn on stderr and look at the machine's. */
export function criToolFlags(daemon: TestDaemon): string[] {
  const config = join(daemon.dir, 'crictl.yaml');
  writeFileSync(config, '');
  const socket = `unix://${daemon.socket}`;
  return ['--config', config, '--runtime-endpoint', socket, '--image-endpoint', socket];
}

const binary = (): string => criTool('crictl');
const flags = (daemon: TestDaemon): string[] => [...criToolFlags(daemon), '--timeout', '60s'];

export type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** What `-r` takes; the first is crictl's default. */
export const TRANSPORTS = ['spdy', 'websocket'] as const;

export function crictlProcess(daemon: TestDaemon, args: readonly string[]): ChildProcess {
  return spawn(binary(), [...flags(daemon), ...args], { stdio: 'pipe' });
}

/** Runs a command to its end; `input` is all of its stdin. */
export async function crictl(daemon: TestDaemon, args: readonly string[], input = ''): Promise<Ran> {
  const child = crictlProcess(daemon, args);
  // One that ends early has not read its input.
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  return collect(child);
}

/** The same at a terminal of its own. */
export function crictlAtTerminal(daemon: TestDaemon, args: readonly string[]): Terminal {
  return new Terminal([binary(), ...flags(daemon), ...args]);
}

export async function collect(child: ChildProcess): Promise<Ran> {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...text };
}
