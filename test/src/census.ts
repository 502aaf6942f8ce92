/** What a daemon has on disk and in the mount table, to be compared before and after something that must leave nothing. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import type { TestDaemon } from './daemon.ts';

/** What belongs to containers and images themselves: it is named, and not looked into. */
const CLOSED =
  /^(?:r\/images\/layers\/[^/]+|r\/containers\/[^/]+\/(?:upper|work)|s\/[0-9a-f]{64}\/(?:rootfs|lxc)|s\/pods\/[^/]+\/shm)$/;

/** Every path below root and state folder, and every mount there (a pinned namespace is one); sorted. */
export function census({ dir, root, state }: TestDaemon): string[] {
  const paths = [root, state].flatMap((top) => walk(dir, top));
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point.includes(`/${basename(dir)}/`))
    .map((point) => `mount ${relative(dir, point)}`);
  return [...paths, ...mounts].toSorted();
}

function walk(dir: string, path: string): string[] {
  const name = relative(dir, path);
  if (CLOSED.test(name)) return [name];
  return [
    name,
    ...readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
      const below = join(path, entry.name);
      return entry.isDirectory() ? walk(dir, below) : [relative(dir, below)];
    }),
  ];
}

/** What one has and the other has not: `+ added`, `- missing`. */
export function difference(before: readonly string[], after: readonly string[]): string[] {
  return [
    ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`),
    ...before.filter((line) => !after.includes(line)).map((line) => `- ${line}`),
  ];
}
