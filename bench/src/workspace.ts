/** The benchmark's folders: where everything lives that it makes, and how nothing of it stays. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from './exec.ts';

/** Paths of unix sockets have 107 bytes; a short folder leaves room for what runtimes put below it. */
const PREFIX = 'bb-';

/** Where runtimes have their state unless they are told otherwise; in memory (scripts/bench.mjs). */
const RUN = '/run';

/** `dir`: on the disk; `state`: where the state of runtimes lives. */
export type Workspace = AsyncDisposable & { readonly dir: string; readonly state: string };

export const makeWorkspace = async (): Promise<Workspace> => {
  await using stack = new AsyncDisposableStack();
  const folder = async (parent: string): Promise<string> => {
    const path = await mkdtemp(join(parent, PREFIX));
    stack.defer(async () => {
      await unmountBelow(path);
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
    });
    return path;
  };
  const [dir, state] = [await folder(tmpdir()), await folder(RUN)];
  const owned = stack.move();
  return { dir, state, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
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
