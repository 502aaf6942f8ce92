/** Acts on cgroup directories: finds and kills their processes, removes them, moves processes. */
import { mkdir, readFile, readdir, rmdir, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, unless } from '../util/errno.ts';
import { type CgroupLayout, cgroupDirectories } from './cgroups.ts';
import { failed } from './refuse.ts';

/** How long killed processes are waited for: one in an uninterruptible call can take its time. */
const KILL_TIMEOUT_MS = 10_000;
/** How often it is looked whether they are gone. */
const KILL_POLL_MS = 5;
/** Tries to remove a cgroup whose last process is just being reaped. */
const RMDIR_TRIES = 40;

const GONE = ['ENOENT', 'ENODEV', 'ENOTDIR'];
/** Linux has one number for both names, and libuv chooses the second. */
const NOT_SUPPORTED = ['EOPNOTSUPP', 'ENOTSUP'];

const subdirectories = async (directory: string): Promise<readonly string[]> => {
  const entries = (await unless(GONE, readdir(directory, { withFileTypes: true }))) ?? [];
  return entries.filter((entry) => entry.isDirectory()).map((entry) => `${directory}/${entry.name}`);
};

/**
 * Every process in a cgroup directory and those below it. A threaded cgroup (v2) does not say: its processes stand in the one above it
 * that is not threaded.
 */
export const processesOf = async (directory: string): Promise<readonly number[]> => {
  const own = (await unless([...GONE, ...NOT_SUPPORTED], readFile(`${directory}/cgroup.procs`, 'utf8'))) ?? '';
  const pids = own.split('\n').filter(Boolean).map(Number);
  for (const child of await subdirectories(directory)) pids.push(...(await processesOf(child)));
  return pids.filter((pid) => pid > 0);
};

const sendKill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
};

/** Lets frozen processes of a cgroup and of those below it go on: v1 by the freezer's file, v2 by its own. */
const thaw = async (directory: string): Promise<void> => {
  for (const child of await subdirectories(directory)) await thaw(child);
  for (const [file, text] of [
    ['freezer.state', 'THAWED'],
    ['cgroup.freeze', '0'],
  ] as const)
    await unless([...GONE, 'EACCES'], writeFile(`${directory}/${file}`, text, { flag: 'r+' }));
};

/** Kills everything in a cgroup and waits until it is gone. Throws when something survives the bound. */
export const killAll = async (layout: CgroupLayout, cgroup: string): Promise<void> => {
  const directories = cgroupDirectories(layout, cgroup);
  const deadline = performance.now() + KILL_TIMEOUT_MS;
  for (;;) {
    const pids = new Set<number>();
    for (const directory of directories) for (const pid of await processesOf(directory)) pids.add(pid);
    if (pids.size === 0) return;
    if (performance.now() > deadline)
      throw failed(`processes ${[...pids].slice(0, 5).join(', ')} of cgroup ${cgroup} do not end after SIGKILL`);
    // Atomic where the kernel has it; without it a fork between reading and killing is caught by the next round.
    await Promise.all(
      directories.map((directory) =>
        unless([...GONE, ...NOT_SUPPORTED, 'EACCES', 'EINVAL'], writeFile(`${directory}/cgroup.kill`, '1', { flag: 'r+' })),
      ),
    );
    for (const pid of pids) sendKill(pid);
    // A frozen process dies only when it is thawed.
    await Promise.all(directories.map(thaw));
    await sleep(KILL_POLL_MS);
  }
};

const removeTree = async (directory: string): Promise<void> => {
  for (let attempt = 1; ; attempt++) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      const code = errnoOf(error);
      if (GONE.includes(code ?? '')) return;
      if (code !== 'EBUSY' && code !== 'ENOTEMPTY') throw error;
      const children = await subdirectories(directory);
      for (const child of children) await removeTree(child);
      if (attempt >= RMDIR_TRIES) throw error;
      if (children.length === 0) await sleep(KILL_POLL_MS);
    }
  }
};

/** Removes a cgroup in every hierarchy, with what is below it. The processes must be gone. Idempotent. */
export const removeCgroup = async (layout: CgroupLayout, cgroup: string): Promise<void> => {
  await Promise.all(cgroupDirectories(layout, cgroup).map(removeTree));
};

/** Removes a cgroup in every hierarchy where it is empty; others keep it. */
export const removeEmptyCgroup = async (layout: CgroupLayout, cgroup: string): Promise<void> => {
  await Promise.all(
    cgroupDirectories(layout, cgroup).map((directory) => unless([...GONE, 'EBUSY', 'ENOTEMPTY'], rmdir(directory))),
  );
};

/** Makes cgroups for shims where the daemon is in one of its own, and gives their directories. */
export const prepareShimCgroups = async (layout: CgroupLayout, own: string): Promise<readonly string[]> => {
  const name = `${own.replace(/^\/+|\/+$/g, '')}/shims`;
  const directories = layout.hierarchies
    .filter((hierarchy) => hierarchy.daemonElsewhere)
    .map((hierarchy) => ({ hierarchy, directory: `${hierarchy.base}/${name}` }));
  for (const { hierarchy, directory } of directories) {
    await mkdir(directory, { recursive: true });
    if (hierarchy.controllers.includes('cpuset')) await initialiseCpuset(hierarchy.base, name);
  }
  return directories.map(({ directory }) => directory);
};

/** A v1 cpuset begins empty and takes no process until it has cpus and mems: they are taken from the parent, level by level. */
const initialiseCpuset = async (base: string, name: string): Promise<void> => {
  let directory = base;
  for (const part of name.split('/')) {
    const parent = directory;
    directory = `${directory}/${part}`;
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if ((await readFile(`${directory}/${file}`, 'utf8')).trim() === '')
        await writeFile(`${directory}/${file}`, (await readFile(`${parent}/${file}`, 'utf8')).trim());
    }
  }
};
