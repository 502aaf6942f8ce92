/** What runtimes leave on a host outside their own folders: control groups, and folders at fixed places. */
import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

const CGROUPS = '/sys/fs/cgroup';

/** Removes a group with everything below it in every hierarchy, v1 or v2. A group with processes in it stays. */
export const removeCgroup = async (name: string): Promise<void> => {
  const hierarchies = (await readdir(CGROUPS, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  for (const place of [CGROUPS, ...hierarchies.map((entry) => join(CGROUPS, entry.name))]) {
    await removeGroups(join(place, name));
  }
};

const removeGroups = async (dir: string): Promise<void> => {
  if (!existsSync(dir)) return;
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeGroups(join(dir, entry.name));
  }
  await rmdir(dir).catch(() => undefined);
};

/** Notes which of these paths are not there yet; disposing removes those that came since. */
export const removeWhatComes = (paths: readonly string[]): AsyncDisposable => {
  const absent = paths.filter((path) => !existsSync(path));
  return {
    [Symbol.asyncDispose]: async () => {
      for (const path of absent) await rm(path, { recursive: true, force: true });
    },
  };
};
