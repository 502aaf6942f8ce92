/** Where a mount goes: found, or made, in the container's tree; refused where nothing can be mounted. */
import { invalid } from './refuse.ts';
import type { ContainerTree } from './resolve.ts';

export type MountTarget = {
  /** Resolved container path. */
  readonly path: string;
  /** What its mount entry needs besides its own options. */
  readonly options: readonly string[];
};

/** What is mounted there: a directory only fits on a directory, and anything else on a file. */
export type MountSource = { readonly name: string; readonly directory: boolean };

export const mountTarget = async (
  tree: ContainerTree,
  field: string,
  containerPath: string,
  source: MountSource,
): Promise<MountTarget> => {
  const { path, stats, known } = await tree.resolve(field, containerPath, source.directory ? 'directory' : 'file');
  if (path === '/') throw invalid(field, 'the root of the container cannot be mounted over');
  if (path === '/proc' || path.startsWith('/proc/')) throw invalid(field, 'nothing can be mounted over /proc');
  if (stats && stats.isDirectory() !== source.directory)
    throw invalid(
      field,
      source.directory
        ? `${path} is not a directory, ${source.name} on the host is`
        : `${path} is a directory, ${source.name} on the host is not`,
    );
  // /dev is a tmpfs that LXC makes at start, so only LXC can make the mount point there. /sys has what it has.
  return { path, options: !known && path.startsWith('/dev/') ? [`create=${source.directory ? 'dir' : 'file'}`] : [] };
};
