/** Resolves container paths on the host, component by component, so that no link of an image or volume leads outside. */
import type { Stats } from 'node:fs';
import { lstat, mkdir, open, readlink } from 'node:fs/promises';
import { errnoOf, invalid, unless } from './refuse.ts';

/** As many links as the kernel follows before it says ELOOP (path_resolution(7)). */
const MAX_LINKS = 40;
/** PATH_MAX: longer paths could not be used by anybody. */
const MAX_PATH_BYTES = 4095;

/** A place in the container where something else than the image's filesystem will be. */
export type MountPoint = {
  /** Resolved container path. */
  readonly target: string;
  /** Where its content is on the host; undefined for what exists only once the container runs (`/dev`, `/proc`, `/sys`). */
  readonly host: string | undefined;
};

/** What shall be made where nothing is yet. */
export type Create = 'nothing' | 'directory' | 'file';

export type Resolved = {
  /** The path in the container, without links, `.` and `..`. */
  readonly path: string;
  /** The same on the host; undefined below a mount point that exists only in the running container. */
  readonly host: string | undefined;
  /** What is there; undefined when nothing is (or it cannot be known). */
  readonly stats: Stats | undefined;
};

/**
 * The container's filesystem as init will see it: the image's root and what is mounted over it. Nobody runs in it yet, so
 * looking at one component after the other is not a race with the container; volumes that others write to are safe
 * because LXC opens mount targets without following links and fails instead.
 */
export class ContainerTree {
  readonly #root: string;
  readonly #mounts: MountPoint[] = [];

  constructor(root: string) {
    this.#root = root;
  }

  /** From now on paths at and below `target` lead there. */
  mount(mountPoint: MountPoint): void {
    this.#mounts.push(mountPoint);
  }

  /** The host path of a container path that has no links. Later mounts cover earlier ones. */
  #host(path: string): string | undefined {
    let best: MountPoint | undefined;
    for (const candidate of this.#mounts)
      if (
        (path === candidate.target || path.startsWith(`${candidate.target}/`)) &&
        candidate.target.length >= (best?.target.length ?? 0)
      )
        best = candidate;
    if (best === undefined) return path === '/' ? this.#root : `${this.#root}${path}`;
    if (best.host === undefined) return undefined;
    return path === best.target ? best.host : `${best.host}${path.slice(best.target.length)}`;
  }

  /**
   * Resolves `path`, following links inside the container only: absolute ones restart at its root, `..` stops there.
   * With `create`, missing parents are made as directories (0755) and the last component as asked.
   * @throws BerthError naming `field` for a loop, a path through something that is no directory, or a bad path.
   */
  async resolve(field: string, path: string, create: Create = 'nothing'): Promise<Resolved> {
    if (path.includes('\0')) throw invalid(field, 'must not contain a NUL byte');
    if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw invalid(field, 'the path is too long');
    const todo = split(path).reverse();
    let done: string[] = [];
    let links = 0;
    let stats: Stats | undefined;
    while (todo.length > 0) {
      const component = todo.pop() ?? '';
      if (component === '..') {
        done.pop();
        continue;
      }
      const next = [...done, component];
      const host = this.#host(`/${next.join('/')}`);
      stats = host === undefined ? undefined : await this.#look(field, host);
      if (stats?.isSymbolicLink() && host !== undefined) {
        if (++links > MAX_LINKS) throw invalid(field, `too many symbolic links in ${path}`);
        const target = await readlink(host);
        if (target.startsWith('/')) done = [];
        todo.push(...split(target).reverse());
        stats = undefined;
        continue;
      }
      const last = todo.length === 0;
      if (stats === undefined && host !== undefined && create !== 'nothing') stats = await make(host, last ? create : 'directory');
      if (!last && stats !== undefined && !stats.isDirectory())
        throw invalid(field, `/${next.join('/')} is not a directory in the container`);
      done = next;
    }
    const resolved = `/${done.join('/')}`;
    const host = this.#host(resolved);
    return { path: resolved, host, stats: host === undefined ? undefined : await this.#look(field, host) };
  }

  async #look(field: string, host: string): Promise<Stats | undefined> {
    try {
      return await unless(['ENOENT'], lstat(host));
    } catch (error) {
      if (errnoOf(error) === 'ENOTDIR') return undefined;
      if (errnoOf(error) === 'ENAMETOOLONG') throw invalid(field, 'a component of the path is too long');
      throw error;
    }
  }
}

const split = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');

const make = async (host: string, what: 'directory' | 'file'): Promise<Stats | undefined> => {
  if (what === 'directory') await unless(['EEXIST'], mkdir(host, { mode: 0o755 }));
  // wx is O_EXCL: never writes through a link that has appeared meanwhile.
  else await (await unless(['EEXIST'], open(host, 'wx', 0o644)))?.close();
  return await unless(['ENOENT'], lstat(host));
};

/** A container path with `.`, `..` and double slashes worked out by its text alone, links not looked at. */
export const normalise = (path: string): string => {
  const done: string[] = [];
  for (const part of split(path)) {
    if (part === '..') done.pop();
    else done.push(part);
  }
  return `/${done.join('/')}`;
};
