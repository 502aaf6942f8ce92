/** The benchmark's folder: where everything lives that it makes, and how nothing of it stays. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from './exec.ts';

/** Paths of unix sockets have 107 bytes; a short folder leaves room for what runtimes put below it. */
const PREFIX = 'bb-';

export type Workspace = AsyncDisposable & { readonly dir: string };

export const makeWorkspace = async (): Promise<Workspace> => {
  const dir = await mkdtemp(join(tmpdir(), PREFIX));
  return {
    dir,
    [Symbol.asyncDispose]: async () => {
      await unmountBelow(dir);
      await rm(dir, { recursive: true, force: true, maxRetries: 3 });
    },
  };
};

/** A daemon that was killed leaves mounts behind; removing their folders would empty what is mounted. */
const unmountBelow = async (dir: string): Promise<void> => {
  const points = async () =>
    (await readFile('/proc/self/mountinfo', 'utf8'))
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((point) => point.startsWith(`${dir}/`))
      .reverse();
  for (const point of await points()) await exec('umount', ['-l', point]).catch(() => '');
  const left = await points();
  if (left.length > 0) throw new Error(`${left.length} mounts below ${dir} cannot be undone; the folder stays`);
};
