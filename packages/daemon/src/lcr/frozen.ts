/** Says whether somebody has frozen a cgroup: v1 by the freezer, v2 by the cgroup itself. */
import { readFileSync } from 'node:fs';
import { errnoOf } from '../util/errno.ts';
import type { CgroupLayout, Hierarchy } from './cgroups.ts';

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
export const frozenCgroup = (layout: CgroupLayout, cgroup: string): string | undefined => {
  for (const hierarchy of layout.hierarchies) {
    const sign = signOf(hierarchy);
    if (sign === undefined) continue;
    const directory = `${hierarchy.base}/${cgroup}`;
    if (sign[1].test(readState(`${directory}/${sign[0]}`))) return directory;
  }
  return undefined;
};

const GONE = ['ENOENT', 'ENODEV', 'ENOTDIR'];

/** At once: the kernel answers from memory, and every attach waits for it; the way through a thread takes ten times as long. */
const readState = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (GONE.includes(errnoOf(error) ?? '')) return '';
    throw error;
  }
};
