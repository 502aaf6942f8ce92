/** What a daemon and its containers may have left on the machine: processes, mounts, cgroups, LXC's own folders. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { UNIFIED } from './cgroups.ts';
import { listProcesses } from './processes.ts';

/** Every process, mount and cgroup that carries the mark (a private folder's or cgroup's name); one line each. */
export function leftovers(mark: string): string[] {
  const processes = listProcesses()
    .filter(({ pid, command, state }) => pid !== process.pid && state !== 'Z' && command.includes(mark))
    .map(({ pid, command }) => `process ${pid}: ${command}`);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(mark))
    .map((line) => `mount: ${line}`);
  const cgroups = cgroupsNamed(mark).map((path) => `cgroup: ${path}`);
  // LXC repeats the path of a daemon's folder below its own.
  const lxc = walk('/run/lxc', basename(mark), 4).map((path) => `folder: ${path}`);
  return [...processes, ...mounts, ...cgroups, ...lxc];
}

/** Cgroup directories whose path has the mark, in every hierarchy. */
function cgroupsNamed(mark: string): string[] {
  const base = '/sys/fs/cgroup';
  const hierarchies = UNIFIED ? [base] : readdirSync(base).map((name) => join(base, name));
  return hierarchies.flatMap((hierarchy) => walk(hierarchy, mark, 4));
}

function walk(dir: string, mark: string, depth: number): string[] {
  if (depth === 0) return [];
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => (name.includes(mark) ? [join(dir, name)] : walk(join(dir, name), mark, depth - 1)));
  } catch {
    return [];
  }
}
