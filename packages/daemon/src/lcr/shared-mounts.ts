/** What is refused around mounts that the container shares with the host (PROPAGATION_BIDIRECTIONAL). */
import { type MountEntry, mountOf } from './mountinfo.ts';
import type { SharedMount } from './plan.ts';
import type { ProtectedPaths } from './protected-paths.ts';
import { hostCannot, notBuilt } from './refuse.ts';
import { isAtOrBelow } from './resolve.ts';

/** Only a copy of a shared mount is its peer. */
export const refuseUnshared = (field: string, source: string, table: readonly MountEntry[]): void => {
  const entry = mountOf(table, source);
  if (!entry?.shared)
    throw hostCannot(field, `${source} is on ${entry?.point ?? 'a mount'} that is not shared (mount --make-rshared)`);
};

/**
 * A mount below one that is shared with the host would show up on the host too, and stay there. Parents are planned first,
 * so looking back is enough.
 */
export const refuseBelowShared = (field: string, target: string, shared: readonly SharedMount[]): void => {
  const above = shared.find((one) => isAtOrBelow(target, one.target));
  if (above !== undefined)
    throw notBuilt(
      field,
      `${target} is not built below ${above.target}, which has BIDIRECTIONAL propagation: it would show up on the host`,
    );
};

/** Hidden and read-only paths are made before shared mounts: one that such a mount covers would be no protection. */
export const refuseProtectedBelowShared = ({ masked, readOnly }: ProtectedPaths, shared: readonly SharedMount[]): void => {
  for (const [field, paths] of [
    ['masked_paths', masked.map(({ path }) => path)],
    ['readonly_paths', readOnly],
  ] as const) {
    const path = paths.find((one) => shared.some(({ target }) => isAtOrBelow(one, target)));
    if (path !== undefined)
      throw notBuilt(`linux.security_context.${field}`, `${path} is not built below a mount with BIDIRECTIONAL propagation`);
  }
};
