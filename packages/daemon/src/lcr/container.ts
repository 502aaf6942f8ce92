/** Makes and takes down containers: directories, overlay, plan, cgroups. Starting is in start.ts. */
import { chmod, chown, mkdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import type { LinuxContainerResources } from '@berth/cri-api';
import { type ContainerSpec, type CreatedContainer, exitRecordPath } from '../runtime/runtime.ts';
import { BerthError, messageOf } from '../util/errors.ts';
import { makeFolders } from '../util/folders.ts';
import { removeTree } from '../util/trees.ts';
import { unless } from '../util/errno.ts';
import { allSettled } from '../util/wait.ts';
import { killAll, removeCgroup } from './cgroup-tree.ts';
import { containerCgroups } from './cgroups.ts';
import { makeRootNodes } from './devices.ts';
import { frozenCgroup } from './frozen.ts';
import { checkContainer, planContainer } from './container-plan.ts';
import type { LcrHost } from './lcr-host.ts';
import { writeLive } from './live-resources.ts';
import { mountOverlay, unmount } from './mount-points.ts';
import { type ContainerPaths, containerPaths, LXC_NAME, lxcRunDirectories, shimBinary } from './paths.ts';
import { type ContainerPlan, PLAN_VERSION } from './plan.ts';
import { failed, safeId } from './refuse.ts';
import { ContainerTree } from './resolve.ts';
import { seccompFile } from './seccomp-file.ts';
import { endShim } from './shim-process.ts';
import { cgroupSettings, type Limits, mergeLimits, parseLimits } from './resources.ts';

/** Makes a container up to the point where it can be started. When it fails, nothing is left. */
export const createContainer = async (host: LcrHost, spec: ContainerSpec): Promise<CreatedContainer> => {
  safeId('container id', spec.id);
  const checked = await checkContainer(host, spec);
  const paths = containerPaths(host.config, spec.id);
  try {
    await makeDirectories(paths, spec.image.layers[0]);
    const [filter] = await allSettled([
      checked.seccomp === undefined ? undefined : seccompFile(host, checked.seccomp),
      mountOverlay(shimBinary(host.config), spec.image, paths, host.run),
      writeFile(paths.resources, JSON.stringify(checked.limits), { mode: 0o600 }),
    ]);
    const plan = await planContainer(host, spec, paths, checked, filter);
    await makeRootNodes(paths.rootfs, plan.nodes ?? []);
    if (plan.logDirectory !== undefined) await makeLogParent(plan.logDirectory, plan.logPath ?? '');
    await writeFile(paths.plan, JSON.stringify(plan), { mode: 0o600 });
    return {
      stopSignal: plan.stopSignal,
      ...(plan.logDirectory === undefined ? {} : { logPath: `${plan.logDirectory}/${plan.logPath}` }),
      user: plan.user,
    };
  } catch (error) {
    await removeContainer(host, spec).catch((cause: unknown) =>
      host.log.warn({ container: spec.id, err: cause }, 'a container that could not be made was not cleaned up'),
    );
    throw error;
  }
};

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

/**
 * The caller has named the directory, so it may be anywhere. Below it a container that has it as a volume must not lead us elsewhere; the
 * shim, which opens the log, follows no link there.
 */
const makeLogParent = async (directory: string, path: string): Promise<void> => {
  try {
    await makeFolders(directory, 0o755);
  } catch (cause) {
    const why = messageOf(cause);
    throw new BerthError('failed-precondition', 'LOG_REFUSED', `the folder of the container's log cannot be made: ${why}`, {
      cause,
    });
  }
  await new ContainerTree(directory).resolve('log_path', parentOf(`/${path}`), 'directory');
};

const makeDirectories = async (paths: ContainerPaths, topLayer: string | undefined): Promise<void> => {
  await Promise.all([mkdir(paths.state, { recursive: true, mode: 0o700 }), mkdir(paths.root, { recursive: true, mode: 0o700 })]);
  await Promise.all(
    [paths.rootfs, `${paths.lxcPath}/${LXC_NAME}`, paths.upper, paths.work].map((path) =>
      mkdir(path, { recursive: true, mode: 0o700 }),
    ),
  );
  // The upper directory is what the container sees as its root's owner and mode.
  const root = topLayer === undefined ? undefined : await stat(topLayer);
  await chown(paths.upper, root?.uid ?? 0, root?.gid ?? 0);
  await chmod(paths.upper, root === undefined ? 0o755 : root.mode & 0o7777);
};

/** The plan of a container that has been created. */
export const readPlan = async (paths: ContainerPaths): Promise<ContainerPlan> => {
  const text = await unless(['ENOENT'], readFile(paths.plan, 'utf8'));
  if (text === undefined) throw failed(`${paths.plan} is missing: the container was not created on this boot`);
  const plan = JSON.parse(text) as ContainerPlan;
  if (plan.version !== PLAN_VERSION)
    throw failed('the container was created by another version of berthd: remove it and create it again');
  return plan;
};

/** The limits that count now: those of creation with all updates. */
export const readLimits = async (paths: ContainerPaths): Promise<Limits> =>
  JSON.parse((await unless(['ENOENT'], readFile(paths.resources, 'utf8'))) ?? '{}') as Limits;

/** Applies new limits to a running container and keeps them for the start of one that does not run. */
export const updateResources = async (host: LcrHost, spec: ContainerSpec, resources: LinuxContainerResources): Promise<void> => {
  const paths = containerPaths(host.config, spec.id);
  const changes = parseLimits(resources);
  const merged = mergeLimits(await readLimits(paths), changes);
  cgroupSettings(merged, host.facts);
  await writeLive(host.facts, cgroupsOf(host, spec).container, cgroupSettings(withContext(changes, merged), host.facts));
  const temporary = `${paths.resources}.tmp`;
  await writeFile(temporary, JSON.stringify(merged), { mode: 0o600 });
  await rename(temporary, paths.resources);
};

/** v2 writes quota and period in one, and of memory and swap together what memory leaves: a change of one needs the other. */
const withContext = (changes: Limits, merged: Limits): Limits => ({
  ...changes,
  ...(changes.cpuPeriod !== undefined && merged.cpuQuota !== undefined ? { cpuQuota: merged.cpuQuota } : {}),
  ...(changes.cpuQuota !== undefined && merged.cpuPeriod !== undefined ? { cpuPeriod: merged.cpuPeriod } : {}),
  ...(changes.memorySwap !== undefined && merged.memory !== undefined ? { memory: merged.memory } : {}),
  ...(changes.memory !== undefined && merged.memorySwap !== undefined ? { memorySwap: merged.memorySwap } : {}),
});

const cgroupsOf = (host: LcrHost, { pod, id }: ContainerSpec): ReturnType<typeof containerCgroups> =>
  containerCgroups(
    pod.config.linux?.cgroupParent || host.config.runtime.cgroupParent,
    host.config.runtime.cgroupParent,
    pod.id,
    id,
  );

/** The container's cgroup where that, or one above it, is frozen. */
export const frozenAt = (host: LcrHost, spec: ContainerSpec): string | undefined =>
  frozenCgroup(host.facts.cgroups, cgroupsOf(host, spec).container);

/** Kills what is left of a container and of LXC's monitor, and waits for their end. */
export const killLeftovers = async (host: LcrHost, spec: ContainerSpec): Promise<void> => {
  safeId('container id', spec.id);
  const cgroups = cgroupsOf(host, spec);
  await killAll(host.facts.cgroups, cgroups.container);
  await killAll(host.facts.cgroups, cgroups.monitor);
};

/** Ends the shim of a start and all that it has made. The shim's end is LXC's, too. */
export const abandonStart = async (host: LcrHost, spec: ContainerSpec): Promise<void> => {
  safeId('container id', spec.id);
  await endShim(containerPaths(host.config, spec.id).state, shimBinary(host.config));
  await killLeftovers(host, spec);
};

/** Takes down everything of a container, whatever is there of it. The daemon's own records stay. */
export const removeContainer = async (host: LcrHost, spec: ContainerSpec): Promise<void> => {
  await killLeftovers(host, spec);
  const paths = containerPaths(host.config, spec.id);
  await endShim(paths.state, shimBinary(host.config));
  await removeRuntimeTraces(host, spec);
  await unmount([paths.rootfs], host.run);
  // A shim that was ended while it wrote its record leaves the temporary file.
  const record = exitRecordPath(host.config.root, spec.id);
  await Promise.all(
    [paths.state, paths.upper, paths.work, paths.resources, `${paths.resources}.tmp`, record, `${record}.tmp`].map(removeTree),
  );
  await unless(['ENOENT', 'ENOTEMPTY', 'EEXIST'], rmdir(paths.root));
};

/** What a start leaves outside of our own directories. */
export const removeRuntimeTraces = async (host: LcrHost, spec: ContainerSpec): Promise<void> => {
  const cgroups = cgroupsOf(host, spec);
  const { lxcPath } = containerPaths(host.config, spec.id);
  await Promise.all([
    removeCgroup(host.facts.cgroups, cgroups.container),
    removeCgroup(host.facts.cgroups, cgroups.monitor),
    ...lxcRunDirectories(lxcPath).map(async (directory) => {
      await rm(directory, { recursive: true, force: true });
      await unless(['ENOENT', 'ENOTEMPTY', 'EEXIST'], rmdir(parentOf(directory)));
    }),
  ]);
};
