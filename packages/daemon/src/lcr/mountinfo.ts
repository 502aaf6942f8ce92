/** The host's mount table, read once per request that needs it: propagation of a source, mounts below a source. */
import { readFile } from 'node:fs/promises';

export type MountEntry = {
  readonly id: number;
  readonly point: string;
  readonly shared: boolean;
  readonly slave: boolean;
  /** True when a part of a file system is mounted, not its root: a bind mount. */
  readonly part: boolean;
};

const unescape = (field: string): string =>
  field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** proc_pid_mountinfo(5). Bytes above 127 of a path are taken one by one, as the kernel gives them. */
export const parseMountinfo = (text: string): readonly MountEntry[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [left = ''] = line.split(' - ');
      const [id, , , root, point = '', , ...tags] = left.split(' ');
      return {
        id: Number(id),
        point: Buffer.from(unescape(point), 'latin1').toString('utf8'),
        shared: tags.some((tag) => tag.startsWith('shared:')),
        slave: tags.some((tag) => tag.startsWith('master:')),
        part: root !== '/',
      };
    });

export const readMountinfo = async (): Promise<readonly MountEntry[]> =>
  parseMountinfo(await readFile('/proc/self/mountinfo', 'latin1'));

const isBelow = (path: string, directory: string): boolean =>
  directory === '/' || path === directory || path.startsWith(`${directory}/`);

/** The mount that a path without links is on: the last one mounted over the longest prefix. */
export const mountOf = (entries: readonly MountEntry[], path: string): MountEntry | undefined => {
  let best: MountEntry | undefined;
  for (const entry of entries) if (isBelow(path, entry.point) && entry.point.length >= (best?.point.length ?? 0)) best = entry;
  return best;
};

/** Mount points strictly below a directory, parents first. */
export const mountsBelow = (entries: readonly MountEntry[], directory: string): readonly string[] =>
  [...new Set(entries.map(({ point }) => point).filter((point) => point !== directory && isBelow(point, directory)))].sort(
    (a, b) => a.split('/').length - b.split('/').length,
  );
