/** Resolves container paths on the host, component by component, so that no link of an image or volume leads outside. */
import type { Stats } from 'node:fs';
import { BerthError } from '../util/errors.ts';
import { errnoOf } from '../util/errno.ts';
import { Place } from './place.ts';
import { invalid } from './refuse.ts';

/** As many links as the kernel follows before it says ELOOP (path_resolution(7)). */
const MAX_LINKS = 40;
/** PATH_MAX: longer paths could not be used by anybody. */
const MAX_PATH_BYTES = 4095;
/** Names looked up for one path, those of its links too: each costs a descriptor until the end. Real paths have ten or twenty. */
const MAX_NAMES = 256;

/** A place in the container where something else than the image's filesystem will be. */
export type MountPoint = {
  /** Resolved container path. */
  readonly target: string;
  /** Where its content is on the host; undefined for what exists only once the container runs (`/dev`, `/proc`, `/sys`). */
  readonly host: string | undefined;
  /** True for a volume that the container may not write. */
  readonly readOnly?: boolean;
};

/** What shall be made where nothing is yet. */
export type Create = 'nothing' | 'directory' | 'file';

export type Resolved = {
  /** The path in the container, without links, `.` and `..`. */
  readonly path: string;
  /** What it is at or below; undefined: the image's filesystem. */
  readonly mount: MountPoint | undefined;
  /** False below a mount point that exists only in the running container: what is there cannot be known. */
  readonly known: boolean;
  /** What is there; undefined when nothing is, or it cannot be known. */
  readonly stats: Stats | undefined;
};

/** One component of a path without links; no place: nothing is there, or it cannot be known. */
type Step = { readonly name: string; readonly place: Place | undefined };

/**
 * The container's filesystem as init will see it: the image's root and what is mounted over it. Nobody runs in it yet, but other
 * containers may write to its volumes and replace a directory by a link at any moment. So every directory is held by a descriptor
 * while the next name is looked up or made in it (place.ts); the kernel never follows a link for us. What changes until the start is
 * safe, because LXC opens mount targets without following links and fails instead.
 */
export class ContainerTree {
  readonly #root: string;
  readonly #mounts: MountPoint[] = [];

  constructor(root: string) {
    this.#root = root;
  }

  /** From now on paths at and below `target` lead there. Later mounts cover earlier ones. */
  mount(mountPoint: MountPoint): void {
    this.#mounts.push(mountPoint);
  }

  /** What a container path that has no links is at or below. */
  #mountOf(path: string): MountPoint | undefined {
    return this.#mounts.findLast(({ target }) => isAtOrBelow(path, target));
  }

  /**
   * Resolves `path`, following links inside the container only: absolute ones restart at its root, `..` stops there.
   * With `create`, missing parents are made as directories (0755) and the last component as asked.
   * @throws BerthError naming `field` for a loop, a path through something that is no directory, a bad path, or one that cannot be
   * looked at or made; `PATH_CHANGED` when a container has changed it meanwhile.
   */
  async resolve(field: string, path: string, create: Create = 'nothing'): Promise<Resolved> {
    using held = new DisposableStack();
    const { path: resolved, place } = await this.#walk(held, field, path, create);
    const mount = this.#mountOf(resolved);
    return { path: resolved, mount, known: mount === undefined || mount.host !== undefined, stats: place?.stats };
  }

  /** The text of a file; empty where no regular file is. */
  async readText(field: string, path: string, maxBytes: number): Promise<string> {
    using held = new DisposableStack();
    const { place } = await this.#walk(held, field, path, 'nothing');
    if (!place?.stats.isFile()) return '';
    if (place.stats.size > maxBytes) throw invalid(field, `${path} is larger than ${maxBytes} bytes`);
    await using file = await place.openFile();
    return await file.readFile('utf8');
  }

  /** All places on the way stay held until `held` is disposed of. */
  async #walk(
    held: DisposableStack,
    field: string,
    path: string,
    create: Create,
  ): Promise<{ readonly path: string; readonly place: Place | undefined }> {
    if (path.includes('\0')) throw invalid(field, 'must not contain a NUL byte');
    if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw invalid(field, 'the path is too long');
    const root = held.use(Place.root(this.#root));
    const todo = split(path).reverse();
    let done: Step[] = [];
    let names = 0;
    let links = 0;
    while (todo.length > 0) {
      const name = todo.pop() ?? '';
      if (name === '..') {
        done.pop();
        continue;
      }
      if (++names > MAX_NAMES) throw invalid(field, `${path} leads through more than ${MAX_NAMES} directories and links`);
      const parent = done.length === 0 ? root : done.at(-1)?.place;
      const next = pathOf([...done, { name }]);
      const last = todo.length === 0;
      const place = held.use(await this.#step(field, next, parent, last || create === 'nothing' ? create : 'directory'));
      if (place?.stats.isSymbolicLink()) {
        if (++links > MAX_LINKS) throw invalid(field, `too many symbolic links in ${path}`);
        const target = await parent?.linkTarget(name);
        if (target === undefined) throw changed(field, next);
        if (target.startsWith('/')) done = [];
        todo.push(...split(target).reverse());
        continue;
      }
      if (!last && place !== undefined && !place.stats.isDirectory()) throw invalid(field, `${next} is not a directory`);
      done.push({ name, place });
    }
    return { path: pathOf(done), place: done.length === 0 ? root : done.at(-1)?.place };
  }

  /** What is at `path`, the last name of which is looked up in `parent`; made there when it is missing. */
  async #step(field: string, path: string, parent: Place | undefined, create: Create): Promise<Place | undefined> {
    const mount = this.#mountOf(path);
    if (mount?.target === path) return mount.host === undefined ? undefined : await Place.at(mount.host);
    if (parent === undefined) return undefined;
    const name = path.slice(path.lastIndexOf('/') + 1);
    try {
      const found = await parent.child(name);
      if (found !== undefined || create === 'nothing') return found;
      await parent.make(name, create);
      const made = await parent.child(name);
      if (made === undefined) throw changed(field, path);
      return made;
    } catch (error) {
      const errno = errnoOf(error) ?? '';
      throw REFUSALS.includes(errno) ? invalid(field, `${path} cannot be looked at or made: ${errno}`) : error;
    }
  }
}

/** What a file system says about a request that it does not take: a read-only one, one that root may not write to, a name too long. */
const REFUSALS: readonly string[] = ['EACCES', 'EPERM', 'EROFS', 'ENAMETOOLONG'];

const changed = (field: string, path: string): BerthError =>
  new BerthError('failed-precondition', 'PATH_CHANGED', `${field}: ${path} has been changed while it was looked at`);

const split = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');

const pathOf = (steps: readonly Pick<Step, 'name'>[]): string => `/${steps.map(({ name }) => name).join('/')}`;

/** By their text: both are paths without links. */
export const isAtOrBelow = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`);

/** A container path with `.`, `..` and double slashes worked out by its text alone, links not looked at. */
export const normalise = (path: string): string => {
  const done: string[] = [];
  for (const part of split(path)) {
    if (part === '..') done.pop();
    else done.push(part);
  }
  return `/${done.join('/')}`;
};
