/** Prepares the host for LCR containers at daemon start, and gives it back when nothing is left. */
import { constants } from 'node:fs';
import {
  access,
  chmod,
  copyFile,
  lstat,
  mkdir,
  readFile,
  readdir,
  realpath,
  rename,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { BerthError } from '../util/errors.ts';
import { makeOwnFolder } from '../util/folders.ts';
import { errnoOf, unless } from '../util/errno.ts';
import { removeEmptyCgroup } from './cgroup-tree.ts';
import { detectCgroups } from './cgroups.ts';
import { isMountPoint, unmount } from './mount-points.ts';
import { mountOf, readMountinfo } from './mountinfo.ts';
import {
  binDirectory,
  hostDevicesHook,
  LXC_RUN,
  lxcRunDirectories,
  MAX_SOCKET_PATH_BYTES,
  MAX_STATE_BYTES,
  shimBinary,
} from './paths.ts';
import { must, run } from './spawn.ts';

/** Room for the shim (a hundred KiB) and for those that it replaced since the host's start: they stay, as containers run them. */
const BIN_SIZE = '16m';
const GROUP_OR_OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/**
 * The nodes of the host's /dev, made anew in a privileged container's own /dev: sharing the host's directory, or binding
 * its nodes, would let the container change their modes and add to them. Console and ptmx are the container's own.
 */
const HOST_DEVICES_SCRIPT = `#!/bin/sh
cd /dev && exec find . -xdev \\( -type b -o -type c \\) ! -path ./console ! -path ./ptmx -exec cp -a -n --parents -t "$LXC_ROOTFS_MOUNT/dev" {} +
`;

/**
 * Looks at what needs no look at the host, before anything is made.
 * @throws BerthError `NOT_ROOT`, `STATE_PATH_TOO_LONG`
 */
export const checkStart = ({ state }: Config, user = process.geteuid?.()): void => {
  if (user !== 0)
    throw new BerthError('failed-precondition', 'NOT_ROOT', 'berthd makes containers for the whole machine: run it as root');
  if (Buffer.byteLength(state) > MAX_STATE_BYTES)
    throw new BerthError(
      'invalid-argument',
      'STATE_PATH_TOO_LONG',
      `the state directory ${state} is longer than ${MAX_STATE_BYTES} bytes: socket paths below it would not fit into ${MAX_SOCKET_PATH_BYTES} bytes`,
    );
};

/**
 * Makes root and state directory, checks who can write to them, makes the state directory a private mount with the shim
 * in a read-only tmpfs below it. Idempotent: at a daemon's restart only a changed shim is replaced. Where it throws, what it made is gone
 * again, unless containers are there.
 * @throws BerthError `UNSAFE_DIRECTORY`, `SHIM_MISSING`, `FOLDER_UNUSABLE`
 */
export const prepareHost = async (config: Config): Promise<void> => {
  // What is made inside containers must be usable by their users, whatever the daemon was started with.
  process.umask(0o022);
  for (const directory of [config.root, config.state]) {
    await makeOwnFolder('folder', directory, 0o755);
    await checkDirectory(directory);
  }
  // From here on: nobody else can put anything into these folders.
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => void (await releaseHost(config)));
  const table = await readMountinfo();
  const state = await realpath(config.state);
  // Pinned namespaces cannot be bound below a shared mount, and what is mounted here is nobody else's business.
  const current = mountOf(table, state);
  if (current?.point !== state || current.shared) {
    await must('mount', ['-n', '--bind', state, state]);
    await must('mount', ['-n', '--make-rprivate', state]);
  }
  await mkdir(`${config.state}/pods`, { recursive: true, mode: 0o700 });
  await prepareBin(config);
  // LXC's own. They are there before its first start, so that the end of another daemon, which removes what is empty, does not take one of
  // them away while LXC makes the next.
  for (const directory of lxcRunDirectories(config.state)) await mkdir(directory, { recursive: true, mode: 0o755 });
  undo.move();
};

/** Whoever can write to a directory, or replace it from the one above, would own what the daemon keeps there. */
const checkDirectory = async (directory: string): Promise<void> => {
  const real = await realpath(directory);
  for (let path = real; ; path = dirname(path)) {
    const { uid, mode } = await lstat(path);
    const why =
      uid !== 0
        ? 'does not belong to root'
        : (mode & GROUP_OR_OTHERS_WRITE) !== 0 && (path === real || (mode & STICKY) === 0)
          ? 'can be written by others'
          : undefined;
    if (why !== undefined)
      throw new BerthError('failed-precondition', 'UNSAFE_DIRECTORY', `${directory} cannot be used: ${path} ${why}`);
    if (path === '/') return;
  }
};

const sameContent = async (one: string, other: string): Promise<boolean> => {
  const [a, b] = await Promise.all([unless(['ENOENT'], readFile(one)), readFile(other)]);
  return a?.equals(b) ?? false;
};

const prepareBin = async (config: Config): Promise<void> => {
  const bin = binDirectory(config);
  if (!(await unless(['ENOENT', 'ENOTDIR'], stat(config.runtime.shim))))
    throw new BerthError(
      'failed-precondition',
      'SHIM_MISSING',
      `${config.runtime.shim} is not there: build it (make -C shim) or set runtime.shim`,
    );
  await mkdir(bin, { recursive: true, mode: 0o755 });
  if (!(await isMountPoint(bin)))
    await must('mount', ['-n', '-t', 'tmpfs', '-o', `nosuid,nodev,mode=0755,size=${BIN_SIZE}`, 'berth-bin', bin]);
  const script = await unless(['ENOENT'], readFile(hostDevicesHook(config), 'utf8'));
  const current = script === HOST_DEVICES_SCRIPT && (await sameContent(shimBinary(config), config.runtime.shim));
  if (current && !(await isWritable(bin))) return;
  await must('mount', ['-n', '-o', 'remount,rw', bin]);
  if (!current) await replaceShim(config);
  await must('mount', ['-n', '-o', 'remount,ro', bin]);
};

/**
 * Puts the new shim in place of the old one, which keeps a name of its own: running containers execute it, and a file system with a
 * removed file that is still open cannot be made read-only.
 */
const replaceShim = async (config: Config): Promise<void> => {
  const shim = shimBinary(config);
  await copyFile(config.runtime.shim, `${shim}.new`);
  await chmod(`${shim}.new`, 0o755);
  await unless(['ENOENT'], rename(shim, `${shim}.${Date.now()}`));
  await rename(`${shim}.new`, shim);
  await writeFile(hostDevicesHook(config), HOST_DEVICES_SCRIPT, { mode: 0o755 });
};

/** False on a read-only mount, also for root. */
const isWritable = async (directory: string): Promise<boolean> =>
  (await unless(
    ['EROFS'],
    access(directory, constants.W_OK).then(() => true),
  )) ?? false;

/** Takes down what prepareHost made, when neither pod nor container is left. Idempotent. Gives whether it did. */
export const releaseHost = async (config: Config): Promise<boolean> => {
  const entries = (await unless(['ENOENT'], readdir(config.state, { withFileTypes: true }))) ?? [];
  const pods = (await unless(['ENOENT'], readdir(`${config.state}/pods`))) ?? [];
  const containers = entries.filter((entry) => entry.isDirectory() && /^[0-9a-f]{64}$/.test(entry.name));
  if (pods.length > 0 || containers.length > 0) return false;
  await unmount([binDirectory(config)]);
  await unless(['ENOENT', 'ENOTEMPTY', 'EBUSY'], rmdir(binDirectory(config)));
  await unless(['ENOENT', 'ENOTEMPTY'], rmdir(`${config.state}/pods`));
  const state = await unless(['ENOENT'], realpath(config.state));
  const current = state === undefined ? undefined : mountOf(await readMountinfo(), state);
  // A whole file system that is mounted there is the administrator's.
  if (state !== undefined && current?.point === state && current.part) await run('umount', ['-l', '-n', '--', state]);
  await removeCgroups(config);
  for (const directory of lxcRunDirectories(config.state)) await removeEmptyParents(directory);
  return true;
};

const removeCgroups = async (config: Config): Promise<void> => {
  const layout = await detectCgroups();
  const own = config.runtime.cgroupParent.replace(/^\/+|\/+$/g, '');
  for (const name of [`${own}/monitors/lxc.pivot`, `${own}/monitors`, `${own}/shims`, own]) await removeEmptyCgroup(layout, name);
};

/** LXC makes `/run/lxc/[lock/]<lxcpath>` with all parents and removes none. */
const removeEmptyParents = async (directory: string): Promise<void> => {
  for (let path = directory; !LXC_RUN.includes(path); path = dirname(path)) {
    try {
      await rmdir(path);
    } catch (error) {
      // Missing: the ones above may still be there. Anything else: somebody uses it.
      if (errnoOf(error) !== 'ENOENT') return;
    }
  }
};
