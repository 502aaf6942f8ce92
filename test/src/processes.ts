/** Looking at and signalling processes from tests. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export type ProcessInfo = { readonly pid: number; readonly ppid: number; readonly state: string; readonly command: string };

/** Every process of this machine that can be read right now. */
export function listProcesses(): ProcessInfo[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readProcess(Number(name)) ?? []);
}

/** Undefined when there is no such process (any more). */
export function readProcess(pid: number): ProcessInfo | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '?', ppid = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return { pid, ppid: Number(ppid), state, command };
  } catch {
    return undefined;
  }
}

/** Open descriptors of a process. */
export const countDescriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Memory of a process that is in RAM, bytes. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib ?? '0') * 1024;
}

/**
 * A daemon's memory after work is that before, give or take `limit` bytes. While it works, what nobody refers to any more waits for its
 * collection; once it rests, it gives that back (docs/decisions/0016).
 * @throws Error when it keeps more than that for half a minute
 */
export async function keepsNoMemory(pid: number, before: number, limit: number): Promise<void> {
  const grown = (): number => residentBytes(pid) - before;
  await eventually(
    () => `the daemon, grown by ${(grown() / 1024 / 1024).toFixed(0)} MiB, gives memory back`,
    () => grown() < limit,
  );
}

/** The most that it ever was, bytes. */
export function peakResidentBytes(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib ?? '0') * 1024;
}

/**
 * Asks again and again until the answer is neither undefined nor false.
 * @throws Error naming `what` (asked for only then, where it is a function) after `timeoutMs`
 */
export async function eventually<T>(
  what: string | (() => string),
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`);
    await sleep(20);
  }
}
