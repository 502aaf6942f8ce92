/** Paths of a container that are hidden or read-only: the request's lists, or the defaults of Kubernetes. */
import { stat } from 'node:fs/promises';
import { invalid, unless } from './refuse.ts';
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

export type ProtectedPaths = {
  readonly masked: readonly { readonly path: string; readonly directory: boolean }[];
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
  const hidden = await Promise.all(
    (masked.length > 0 ? masked : DEFAULT_MASKED).map((path) => find(`${at}.masked_paths`, path, tree)),
  );
  const fixed = await Promise.all(
    (readOnly.length > 0 ? readOnly : DEFAULT_READONLY).map((path) => find(`${at}.readonly_paths`, path, tree)),
  );
  if (hidden.length + fixed.length > MAX_PATHS)
    throw invalid(`${at}.masked_paths`, `more than ${MAX_PATHS} masked and read-only paths`);
  return {
    masked: hidden.filter((found) => found !== undefined),
    readOnly: fixed.filter((found) => found !== undefined).map(({ path }) => path),
  };
};

const find = async (
  field: string,
  path: string,
  tree: ContainerTree,
): Promise<{ readonly path: string; readonly directory: boolean } | undefined> => {
  if (!path.startsWith('/')) throw invalid(field, `"${path}" is not an absolute path`);
  const plain = normalise(path);
  if (plain === '/') throw invalid(field, 'the root cannot be masked or made read-only here (readonly_rootfs does that)');
  if (plain.startsWith('/proc/') || plain.startsWith('/sys/')) {
    // The container's /proc and /sys do not exist yet; the host's have the same entries.
    const stats = await unless(['ENOENT', 'ENOTDIR', 'EACCES'], stat(plain));
    return stats && { path: plain, directory: stats.isDirectory() };
  }
  const resolved = await tree.resolve(field, path);
  return resolved.stats && { path: resolved.path, directory: resolved.stats.isDirectory() };
};
