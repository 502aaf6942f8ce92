/** Writes limits into the cgroup of a running container. */
import { stat, writeFile } from 'node:fs/promises';
import type { HostFacts } from './host-facts.ts';
import { errnoOf, hostCannot, unless } from './refuse.ts';
import { type CgroupSetting, settingDirectory } from './resources.ts';

/** Writes all settings; a container without a cgroup does not run, and its next start takes them from the record. */
export const writeLive = async (facts: HostFacts, cgroup: string, settings: readonly CgroupSetting[]): Promise<void> => {
  let waiting = [...settings];
  // The kernel refuses an order in which, say, memory would be above memory plus swap in between: one round per
  // setting that has become possible.
  while (waiting.length > 0) {
    const refused: { readonly setting: CgroupSetting; readonly error: unknown }[] = [];
    for (const setting of waiting) {
      const directory = settingDirectory(facts.cgroups, setting.controller, cgroup);
      if (directory === undefined || !(await unless(['ENOENT'], stat(directory)))) continue;
      try {
        await writeFile(`${directory}/${setting.file}`, setting.value, { flag: 'r+' });
      } catch (error) {
        if (errnoOf(error) === 'ENODEV') continue;
        refused.push({ setting, error });
      }
    }
    const [first] = refused;
    if (first && refused.length === waiting.length)
      throw hostCannot(
        'linux',
        `the kernel does not take ${first.setting.file} = ${first.setting.value}: ${errnoOf(first.error) ?? String(first.error)}`,
      );
    waiting = refused.map(({ setting }) => setting);
  }
};
