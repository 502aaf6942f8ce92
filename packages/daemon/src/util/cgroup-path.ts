/** What may be a cgroup's path: one rule for requests and for settings. */

/** Longest name of a cgroup parent; the full path must stay below PATH_MAX with ids behind it. */
const MAX_CGROUP_PARENT_BYTES = 1024;

/** Why a text is no path below the cgroup mounts, that is one that could lead out of them; undefined where it is. */
export function whyNoCgroupPath(path: string): string | undefined {
  if (Buffer.byteLength(path) > MAX_CGROUP_PARENT_BYTES) return 'too long';
  if (!/^[A-Za-z0-9_.:@\\/-]+$/.test(path)) return `"${path}" has characters that cgroup paths do not have here`;
  if (path.split('/').some((part) => part === '..' || part === '.')) return '"." and ".." are not allowed';
  return undefined;
}
