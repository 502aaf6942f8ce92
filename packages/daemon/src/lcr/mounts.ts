/** Turns CRI mounts into mount entries: sources found or made on the host, targets resolved inside the container. */
import { realpath, stat } from 'node:fs/promises';
import { type Mount, MountPropagation } from '@berth/cri-api';
import { makeFolders } from '../util/folders.ts';
import { errnoOf } from '../util/errno.ts';
import { type MountEntry, mountOf, mountsBelow, readMountinfo } from './mountinfo.ts';
import { mountTarget } from './mount-target.ts';
import type { ContainerPlan, PlannedMount, RecursiveReadOnly, SharedMount } from './plan.ts';
import { hostCannot, invalid, notBuilt } from './refuse.ts';
import { type ContainerTree, normalise } from './resolve.ts';
import { refuseBelowShared, refuseUnshared } from './shared-mounts.ts';

/** Mounts of one container; each costs several system calls at start, and a mount table has its limit (fs.mount-max, 100000). */
const MAX_MOUNTS = 1000;

export type PlannedVolumes = {
  readonly mounts: readonly PlannedMount[];
  readonly recursiveReadOnly: readonly RecursiveReadOnly[];
  readonly shared: readonly SharedMount[];
};

/** True when a request puts something of its own at exactly this path. */
export const mountsAt = (mounts: readonly Mount[], path: string): boolean =>
  mounts.some((mount) => normalise(mount.containerPath) === path);

const depth = (mount: Mount): number => normalise(mount.containerPath).split('/').length;

/** Plans the volumes and enters them into the tree. Parents come before what is mounted below them, as other runtimes order them. */
export const planVolumes = async (mounts: readonly Mount[], tree: ContainerTree, selinux: boolean): Promise<PlannedVolumes> => {
  if (mounts.length > MAX_MOUNTS) throw invalid('mounts', `more than ${MAX_MOUNTS}`);
  mounts.forEach((mount, index) => check(mount, `mounts[${index}]`, selinux));
  const ordered = mounts
    .map((mount, index) => ({ mount, field: `mounts[${index}]` }))
    .sort((a, b) => depth(a.mount) - depth(b.mount));
  const table = mounts.some(needsMountTable) ? await readMountinfo() : [];
  const planned: PlannedMount[] = [];
  const recursiveReadOnly: RecursiveReadOnly[] = [];
  const shared: SharedMount[] = [];
  for (const { mount, field } of ordered) {
    const source = await findSource(mount.hostPath, field);
    const at = `${field}.container_path`;
    const target = await mountTarget(tree, at, mount.containerPath, { name: mount.hostPath, directory: source.directory });
    refuseBelowShared(at, target.path, shared);
    if (mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL) {
      if (target.options.length > 0)
        throw notBuilt(`${field}.propagation`, 'BIDIRECTIONAL is not built for places in /dev that do not exist yet');
      refuseUnshared(`${field}.propagation`, source.path, table);
      shared.push({ source: source.path, target: target.path, readOnly: mount.readonly });
    } else
      planned.push({
        source: source.path,
        target: target.path,
        type: 'none',
        options: [...bindOptions(mount, field, source.path, table), ...target.options],
      });
    if (mount.recursiveReadOnly) recursiveReadOnly.push({ source: source.path, target: target.path });
    tree.mount({ target: target.path, host: source.path, readOnly: mount.readonly });
  }
  return { mounts: planned, recursiveReadOnly, shared };
};

const needsMountTable = (mount: Mount): boolean => mount.propagation !== MountPropagation.PROPAGATION_PRIVATE;

/** What a request may not ask for, whatever the host looks like. */
const check = (mount: Mount, field: string, selinux: boolean): void => {
  if (mount.image?.image) throw notBuilt(`${field}.image`, '(image volumes) is not built yet');
  if (mount.imageSubPath) throw notBuilt(`${field}.image_sub_path`, '(image volumes) is not built yet');
  if (mount.uidMappings.length > 0) throw notBuilt(`${field}.uidMappings`);
  if (mount.gidMappings.length > 0) throw notBuilt(`${field}.gidMappings`);
  // Without SELinux there are no labels to change; with it, ignoring the wish would break the volume.
  if (mount.selinuxRelabel && selinux) throw notBuilt(`${field}.selinux_relabel`, 'is not built yet for hosts with SELinux');
  if (!mount.containerPath.startsWith('/'))
    throw invalid(`${field}.container_path`, `"${mount.containerPath}" is not an absolute path`);
  if (!mount.hostPath.startsWith('/')) throw invalid(`${field}.host_path`, `"${mount.hostPath}" is not an absolute path`);
  if (mount.recursiveReadOnly && !mount.readonly) throw invalid(`${field}.recursive_read_only`, 'needs readonly');
  if (mount.recursiveReadOnly && mount.propagation !== MountPropagation.PROPAGATION_PRIVATE)
    throw invalid(`${field}.recursive_read_only`, 'needs PROPAGATION_PRIVATE');
};

/** The source without links. One that does not exist is made as a directory, as other runtimes do. */
const findSource = async (hostPath: string, field: string): Promise<{ readonly path: string; readonly directory: boolean }> => {
  try {
    const path = await realpath(hostPath).catch(async (error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await makeFolders(hostPath, 0o755);
      return await realpath(hostPath);
    });
    return { path, directory: (await stat(path)).isDirectory() };
  } catch (error) {
    throw invalid(`${field}.host_path`, `${hostPath} cannot be used: ${errnoOf(error) ?? String(error)}`);
  }
};

const bindOptions = (mount: Mount, field: string, source: string, table: readonly MountEntry[]): readonly string[] => {
  const readOnly = mount.readonly ? ['ro'] : [];
  // Only the top: each mount below gets an entry of its own, so that one that appears too late is missing rather than writable.
  if (mount.recursiveReadOnly) return ['bind', 'ro', 'rprivate'];
  return ['rbind', ...readOnly, propagation(mount, field, source, table)];
};

const propagation = (mount: Mount, field: string, source: string, table: readonly MountEntry[]): string => {
  const at = `${field}.propagation`;
  switch (mount.propagation) {
    case MountPropagation.PROPAGATION_PRIVATE:
      return 'rprivate';
    case MountPropagation.PROPAGATION_HOST_TO_CONTAINER: {
      const entry = mountOf(table, source);
      if (!entry?.shared && !entry?.slave)
        throw hostCannot(
          at,
          `${source} is on ${entry?.point ?? 'a mount'} that is neither shared nor slave (mount --make-rshared)`,
        );
      return 'rslave';
    }
    default:
      throw invalid(at, 'unknown propagation');
  }
};

/**
 * The plan's mounts, with those that are below recursively read-only sources now, each read-only and right behind the one it belongs to:
 * what is planned below that volume stays on top.
 */
export const mountsAtStart = async ({
  mounts,
  recursiveReadOnly,
}: Pick<ContainerPlan, 'mounts' | 'recursiveReadOnly'>): Promise<readonly PlannedMount[]> => {
  if (recursiveReadOnly.length === 0) return mounts;
  const table = await readMountinfo();
  return mounts.flatMap((mount) => {
    const { source, target } = mount;
    if (!recursiveReadOnly.some((one) => one.source === source && one.target === target)) return [mount];
    const below = mountsBelow(table, source).map((point) => ({
      source: point,
      target: `${target}${source === '/' ? point : point.slice(source.length)}`,
      type: 'none' as const,
      options: ['bind', 'ro', 'rprivate'],
    }));
    return [mount, ...below];
  });
};
