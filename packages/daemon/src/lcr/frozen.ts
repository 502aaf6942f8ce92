/** Says whether somebody has frozen a cgroup: v1 by the freezer, v2 by the cgroup itself. */
import { readFile } from 'node:fs/promises';
import type { CgroupLayout, Hierarchy } from './cgroups.ts';
import { unless } from './refuse.ts';

/** The file of a hierarchy that says it, and what stands there then; both also speak of a frozen cgroup above. */
const signOf = ({ version, controllers }: Hierarchy): readonly [file: string, frozen: RegExp] | undefined => {
  // FREEZING: some of the processes already stand still, and none that comes in gets far.
  if (controllers.includes('freezer')) return ['freezer.state', /^FR(?:OZEN|EEZING)$/m];
  return version === 2 ? ['cgroup.events', /^frozen 1$/m] : undefined;
};

/**
 * The directory of the cgroup where it, or one above it, is frozen; `undefined` when its processes run. One small file is read for each
 * hierarchy that can freeze: one on a host with v1 or v2 alone, two on a hybrid one. A cgroup that is gone is not frozen.
 */
export const frozenCgroup = async (layout: CgroupLayout, cgroup: string): Promise<string | undefined> => {
  const found = await Promise.all(
    layout.hierarchies.map(async (hierarchy) => {
      const sign = signOf(hierarchy);
      if (sign === undefined) return undefined;
      const directory = `${hierarchy.base}/${cgroup}`;
      const text = await unless(['ENOENT', 'ENODEV', 'ENOTDIR'], readFile(`${directory}/${sign[0]}`, 'utf8'));
      return text !== undefined && sign[1].test(text) ? directory : undefined;
    }),
  );
  return found.find((directory) => directory !== undefined);
};
