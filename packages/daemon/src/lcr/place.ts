/** Places on the host, each held by a descriptor: what running containers rename or replace meanwhile leads nowhere else. */
import { closeSync, constants, fstatSync, open as openDescriptor, openSync, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open, readlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { unless } from '../util/errno.ts';

/** open(2): the descriptor stands for a place, nothing is opened. Node has no name for it; x86 and Arm have the same number. */
const O_PATH = 0o10_000_000;

const openPlace = promisify(openDescriptor);

/**
 * A file, directory or link. What is below it is addressed through its descriptor (`/proc/self/fd/N/name`), so one name at a time is
 * looked up, in this very directory, wherever a container has moved it. Node has no openat(2).
 */
export class Place implements Disposable {
  /** What it was when it was found. */
  readonly stats: Stats;
  readonly #descriptor: number;

  private constructor(descriptor: number, stats: Stats) {
    this.#descriptor = descriptor;
    this.stats = stats;
  }

  /** A container's root, which is ours and local: at once, as every path begins here. */
  static root(path: string): Place {
    const descriptor = openSync(path, O_PATH);
    return new Place(descriptor, fstatSync(descriptor));
  }

  /** What the host's own path names, its links followed; undefined where nothing is. */
  static async at(path: string): Promise<Place | undefined> {
    return await Place.#hold(path, O_PATH);
  }

  static async #hold(path: string, flags: number): Promise<Place | undefined> {
    const descriptor = await unless(['ENOENT', 'ENOTDIR'], openPlace(path, flags));
    if (descriptor === undefined) return undefined;
    try {
      // At once: the kernel has it by now, and the way through a thread takes many times as long.
      return new Place(descriptor, fstatSync(descriptor));
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  get #path(): string {
    return `/proc/self/fd/${this.#descriptor}`;
  }

  /** What has this name in this directory; a link is found as itself. `name` is one component, and neither `.` nor `..`. */
  async child(name: string): Promise<Place | undefined> {
    return await Place.#hold(`${this.#path}/${name}`, O_PATH | constants.O_NOFOLLOW);
  }

  /** Where the link of this name leads; undefined when there is no link any more. */
  async linkTarget(name: string): Promise<string | undefined> {
    return await unless(['ENOENT', 'EINVAL'], readlink(`${this.#path}/${name}`));
  }

  /** Makes a directory or an empty file, unless something has this name already: a link is something, and is not followed. */
  async make(name: string, what: 'directory' | 'file'): Promise<void> {
    const path = `${this.#path}/${name}`;
    // The directory itself may have been removed: who looks for what was made sees that.
    if (what === 'directory') await unless(['EEXIST', 'ENOENT'], mkdir(path, { mode: 0o755 }));
    // wx is O_EXCL.
    else await (await unless(['EEXIST', 'ENOENT'], open(path, 'wx', 0o644)))?.close();
  }

  /** Opens for reading what is here, whatever has its name now. */
  async openFile(): Promise<FileHandle> {
    return await open(this.#path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}
