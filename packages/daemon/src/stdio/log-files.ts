/** The log files that lagging cursors may still need: open descriptors survive rotation, renaming and removal. */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isRecordAt } from './log-reader.ts';
import type { Location } from './shim.ts';

/**
 * Files held open for one container, beside those that are being read. A file is closed when everybody is past it, and how far a session
 * may lag behind bounds that first: 1 GiB is 103 files of the 10 MiB at which kubelet rotates, half as many again with lines of 80 bytes.
 * This is the backstop.
 */
export const MAX_OPEN_FILES = 256;
/** And for all containers together: a fifth of the 20,000 descriptors that small systems allow. Beyond it, who opens one closes its oldest. */
const MAX_OPEN_IN_ALL = 4096;
/** Names looked at in a log directory when a rotated file is searched. */
const MAX_NAMES = 4096;

/** Where output is: what the shim says of it. */
type Place = Extract<Location, { kind: 'log' }>;
type FileId = { readonly inode: bigint; readonly device: bigint };
/** `end`: all its output lies below this offset; absent while it may still grow. */
type OpenLog = FileId & { readonly handle: FileHandle; readers: number; end?: number };
export type LentLog = { readonly handle: FileHandle; release(): void };

/** Files that are open in this process. */
let openInAll = 0;

export class LogFiles {
  readonly #path: string;
  readonly #needed: () => number;
  /** Oldest first. */
  readonly #open: OpenLog[] = [];
  #closed = false;

  /** @param needed tells below which offset nobody wants anything of the log any more */
  constructor(path: string, needed: () => number) {
    this.#path = path;
    this.#needed = needed;
  }

  /** Opens what now stands at the log's path, unless it is open; called when output begins to matter and after each reopening. */
  async pin(): Promise<void> {
    await this.#openPath(this.#path);
  }

  /** Output from this offset on is in the file that was pinned last, or in later ones. */
  async settle(offset: number): Promise<void> {
    for (const entry of this.#open.slice(0, -1)) entry.end ??= offset;
    await this.#closePassed();
  }

  /**
   * Lends out the file that holds this output: an open one, the current one or a rotated one beside it. It stays open until it is
   * released. Undefined when there is none any more.
   */
  async borrow(where: Place): Promise<LentLog | undefined> {
    const found = await this.#search(where);
    if (found === undefined) return undefined;
    found.readers += 1;
    const release = (): void => {
      found.readers -= 1;
      if (this.#closed && found.readers === 0) void close(found);
      else void this.#closePassed();
    };
    try {
      if (await holds(found.handle, where)) return { handle: found.handle, release };
    } catch (error) {
      release();
      throw error;
    }
    release();
    return undefined;
  }

  /** Closes all files, lent ones when they are given back. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#open.splice(0).map(async (entry) => (entry.readers === 0 ? await close(entry) : undefined)));
  }

  async #search(where: Place): Promise<OpenLog | undefined> {
    const known = this.#find(where);
    if (known !== undefined) return known;
    await this.pin();
    const name = basename(this.#path);
    const folder = dirname(this.#path);
    const names = (await readdir(folder)).filter((entry) => entry.startsWith(name)).slice(0, MAX_NAMES);
    for (const entry of names) {
      const found = this.#find(where);
      if (found !== undefined) return found;
      await this.#openPath(join(folder, entry), where);
    }
    return this.#find(where);
  }

  #find({ inode, device }: FileId): OpenLog | undefined {
    return this.#open.find((entry) => entry.inode === inode && entry.device === device);
  }

  /** O_NONBLOCK and O_NOFOLLOW: a FIFO or a link in place of the log must neither hang the daemon nor lead it elsewhere. */
  async #openPath(path: string, wanted?: FileId): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(path, flags).catch(() => undefined);
    if (handle === undefined) return;
    const stat = await handle.stat({ bigint: true });
    const id = { inode: stat.ino, device: stat.dev };
    const unwanted = wanted !== undefined && (wanted.inode !== id.inode || wanted.device !== id.device);
    if (!stat.isFile() || unwanted || this.#closed || this.#find(id) !== undefined) {
      await handle.close();
      return;
    }
    const entry = { ...id, handle, readers: 0 };
    // A searched file is an old one: the newest stays the last.
    if (wanted === undefined) this.#open.push(entry);
    else this.#open.splice(-1, 0, entry);
    openInAll += 1;
    const idle = this.#open.slice(0, -1).filter((other) => other.readers === 0 && other !== entry);
    if (idle.length >= MAX_OPEN_FILES || openInAll > MAX_OPEN_IN_ALL) await this.#drop(idle.slice(0, 1));
  }

  /** Closes what everybody is past. */
  async #closePassed(): Promise<void> {
    const needed = this.#needed();
    await this.#drop(this.#open.filter(({ readers, end }) => readers === 0 && end !== undefined && end <= needed));
  }

  async #drop(entries: readonly OpenLog[]): Promise<void> {
    for (const entry of entries) this.#open.splice(this.#open.indexOf(entry), 1);
    await Promise.all(entries.map(close));
  }
}

async function close({ handle }: OpenLog): Promise<void> {
  openInAll -= 1;
  await handle.close();
}

/**
 * Whether this is the file that is meant, and not one that was given its inode later: a record begins there, and there is room for the
 * output behind it, each byte of which is at least one of the file.
 */
async function holds(handle: FileHandle, { position, first, end }: Place): Promise<boolean> {
  const { size } = await handle.stat();
  return size >= position + (end - first) && (await isRecordAt(handle, position));
}
