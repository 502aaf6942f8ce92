/** The log files that lagging cursors may still need: open descriptors survive rotation, renaming and removal. */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LogDamaged } from './log-reader.ts';

/** Files held open at one time beside those that are being read; what a session may lag behind bounds it first, this is the backstop. */
const MAX_OPEN_FILES = 16;
/** Names looked at in a log directory when a rotated file is searched. */
const MAX_NAMES = 4096;

type OpenLog = { readonly inode: bigint; readonly device: bigint; readonly handle: FileHandle; readers: number };

export class LogFiles {
  readonly #path: string;
  /** Oldest first. */
  readonly #open: OpenLog[] = [];
  #closed = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** Opens what now stands at the log's path, unless it is open; called when output begins to matter and after each reopening. */
  async pin(): Promise<void> {
    await this.#openPath(this.#path);
  }

  /**
   * Lends out the file with this inode: an open one, the current one or a rotated one beside it. It stays open until it is released.
   * @throws LogDamaged when there is none any more
   */
  async borrow(inode: bigint, device: bigint): Promise<{ readonly handle: FileHandle; release(): void }> {
    const found = await this.#search(inode, device);
    if (found === undefined) throw new LogDamaged('the log file that holds this output is gone');
    found.readers += 1;
    const release = (): void => {
      found.readers -= 1;
      if (this.#closed && found.readers === 0) void found.handle.close();
    };
    return { handle: found.handle, release };
  }

  /** Closes all files, lent ones when they are given back. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#open.splice(0).map(async (entry) => (entry.readers === 0 ? await entry.handle.close() : undefined)));
  }

  async #search(inode: bigint, device: bigint): Promise<OpenLog | undefined> {
    const known = this.#find(inode, device);
    if (known !== undefined) return known;
    await this.pin();
    const name = basename(this.#path);
    const folder = dirname(this.#path);
    const names = (await readdir(folder)).filter((entry) => entry.startsWith(name)).slice(0, MAX_NAMES);
    for (const entry of names) {
      const found = this.#find(inode, device);
      if (found !== undefined) return found;
      await this.#openPath(join(folder, entry), { inode, device });
    }
    return this.#find(inode, device);
  }

  #find(inode: bigint, device: bigint): OpenLog | undefined {
    return this.#open.find((entry) => entry.inode === inode && entry.device === device);
  }

  /** O_NONBLOCK and O_NOFOLLOW: a FIFO or a link in place of the log must neither hang the daemon nor lead it elsewhere. */
  async #openPath(path: string, wanted?: { inode: bigint; device: bigint }): Promise<void> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(path, flags).catch(() => undefined);
    if (handle === undefined) return;
    const stat = await handle.stat({ bigint: true });
    const unwanted = wanted !== undefined && (wanted.inode !== stat.ino || wanted.device !== stat.dev);
    if (!stat.isFile() || unwanted || this.#closed || this.#find(stat.ino, stat.dev) !== undefined) {
      await handle.close();
      return;
    }
    this.#open.push({ inode: stat.ino, device: stat.dev, handle, readers: 0 });
    if (this.#open.length <= MAX_OPEN_FILES) return;
    const idle = this.#open.findIndex((entry) => entry.readers === 0);
    await this.#open.splice(idle, 1)[0]?.handle.close();
  }
}
