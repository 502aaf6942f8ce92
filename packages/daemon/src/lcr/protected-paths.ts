/** Paths of a container that are hidden or read-only: the request's lists, or the defaults of Kubernetes. */
import { stat } from 'node:fs/promises';
import { unless } from '../util/errno.ts';
import { invalid, notBuilt } from './refuse.ts';
import { type ContainerTree, normalise } from './resolve.ts';

/** What Kubernetes' default ProcMount hides: it tells about the host, or lets one do things to it. */
const DEFAULT_MASKED = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const DEFAULT_READONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** Each is a mount: the same bound as for volumes, for the same reason. */
const MAX_PATHS = 1000;

type FoundPath = { readonly path: string; readonly directory: boolean };

export type ProtectedPaths = {
  readonly masked: readonly FoundPath[];
  readonly readOnly: readonly string[];
};

/**
 * Looks the paths up. Empty lists mean the defaults: on the wire they cannot be told from lists that were not given, and
 * the safe reading wins (an unmasked /proc belongs to user namespaces anyway). Paths that do not exist are left out.
 */
export const planProtectedPaths = async (
  masked: readonly string[],
  readOnly: readonly string[],
  tree: ContainerTree,
): Promise<ProtectedPaths> => {
  const at = 'linux.security_context';
  if (masked.length + readOnly.length > MAX_PATHS)
    throw invalid(`${at}.masked_paths`, `more than ${MAX_PATHS} masked and read-only paths`);
  const found: { masked: FoundPath[]; readOnly: string[] } = { masked: [], readOnly: [] };
  // One after the other: each holds descriptors while it is looked up.
  for (const path of masked.length > 0 ? masked : DEFAULT_MASKED) {
    const hidden = await find(`${at}.masked_paths`, path, tree);
    if (hidden) found.masked.push({ path: hidden.path, directory: hidden.directory });
  }
  for (const path of readOnly.length > 0 ? readOnly : DEFAULT_READONLY) {
    const field = `${at}.readonly_paths`;
    const fixed = await find(field, path, tree);
    // LXC binds such a path on itself and looks its source up by name, links and all: a container that writes to the volume could lead it
    // to the host's files.
    if (fixed?.volume !== undefined)
      throw notBuilt(field, `${fixed.path} is not built below the volume at ${fixed.volume}: mount the volume read-only`);
    if (fixed) found.readOnly.push(fixed.path);
  }
  return found;
};

/** `volume`: the mount point that it is below, where that is not the path itself. */
type Found = FoundPath & { readonly volume: string | undefined };

const find = async (field: string, path: string, tree: ContainerTree): Promise<Found | undefined> => {
  if (!path.startsWith('/')) throw invalid(field, `"${path}" is not an absolute path`);
  const plain = normalise(path);
  if (plain === '/') throw invalid(field, 'the root cannot be masked or made read-only here (readonly_rootfs does that)');
  if (plain.startsWith('/proc/') || plain.startsWith('/sys/')) {
    // The container's /proc and /sys do not exist yet; the host's have the same entries.
    const stats = await unless(['ENOENT', 'ENOTDIR', 'EACCES'], stat(plain));
    return stats && { path: plain, directory: stats.isDirectory(), volume: undefined };
  }
  const { path: real, stats, mount } = await tree.resolve(field, path);
  return stats && { path: real, directory: stats.isDirectory(), volume: mount?.target === real ? undefined : mount?.target };
};
