/** Writes limits into the cgroup of a running container: all of them, or none. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { errnoOf, unless } from '../util/errno.ts';
import type { HostFacts } from './host-facts.ts';
import { hostCannot } from './refuse.ts';
import { type CgroupSetting, settingDirectory } from './resources.ts';

/** A file that was written, and what was in it before; undefined: it cannot be read. */
type Written = { readonly file: string; readonly path: string; readonly before: string | undefined };

/**
 * Writes all settings; a container without a cgroup does not run, and its next start takes them from the record. When the kernel refuses
 * one, the others get their old values back, as far as it lets them: the error names those that it does not.
 * @throws BerthError `HOST_CANNOT` with the first setting that is refused
 */
export const writeLive = async (facts: HostFacts, cgroup: string, settings: readonly CgroupSetting[]): Promise<void> => {
  const done: Written[] = [];
  let waiting = [...settings];
  // The kernel refuses an order in which, say, memory would be above memory plus swap in between: one round per
  // setting that has become possible.
  while (waiting.length > 0) {
    const refused: { readonly setting: CgroupSetting; readonly error: unknown }[] = [];
    for (const setting of waiting) {
      const directory = settingDirectory(facts.cgroups, setting.controller, cgroup);
      if (directory === undefined || !(await unless(['ENOENT'], stat(directory)))) continue;
      const path = `${directory}/${setting.file}`;
      const before = await read(path);
      try {
        await write(path, setting.value);
        done.push({ file: setting.file, path, before });
      } catch (error) {
        if (errnoOf(error) === 'ENODEV') continue;
        refused.push({ setting, error });
      }
    }
    const [first] = refused;
    if (first && refused.length === waiting.length) {
      const why = `the kernel does not take ${first.setting.file} = ${first.setting.value}: ${errnoOf(first.error) ?? String(first.error)}`;
      const changed = await takeBack(done);
      throw hostCannot(
        'linux',
        changed.length === 0 ? why : `${why}; changed already, and not to be set back: ${changed.join(', ')}`,
      );
    }
    waiting = refused.map(({ setting }) => setting);
  }
};

/** Puts the old values back and gives the files where that failed. Backwards, each step leads to what the kernel has had before. */
const takeBack = async (done: readonly Written[]): Promise<readonly string[]> => {
  const changed: string[] = [];
  for (const { file, path, before } of done.toReversed()) {
    if (before !== undefined) await write(path, before).catch(() => undefined);
    // Asked, because some files take what is no whole value, and say nothing.
    if (before === undefined || (await read(path)) !== before) changed.push(file);
  }
  return changed;
};

const read = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);
const write = (path: string, value: string): Promise<void> => writeFile(path, value, { flag: 'r+' });
