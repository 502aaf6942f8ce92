/** The log files that lagging cursors may still need: open descriptors survive rotation, renaming and removal. */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LogDamaged } from './log-reader.ts';

/** Rotated files held open at one time; what a session may lag behind bounds it first, this is the backstop. */
const MAX_OPEN_FILES = 16;
/** Names looked at in a log directory when a rotated file is searched. */
const MAX_NAMES = 4096;

type OpenLog = { readonly inode: bigint; readonly device: bigint; readonly handle: FileHandle };

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
   * The file with this inode: an open one, the current one or a rotated one beside it.
   * @throws LogDamaged when there is none any more
   */
  async file(inode: bigint, device: bigint): Promise<FileHandle> {
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
    const found = this.#find(inode, device);
    if (found === undefined) throw new LogDamaged('the log file that holds this output is gone');
    return found;
  }

  /** Closes the files older than the newest: nobody reads them any more. */
  async closeOld(): Promise<void> {
    const old = this.#open.splice(0, Math.max(0, this.#open.length - 1));
    await Promise.all(old.map(({ handle }) => handle.close()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#open.splice(0).map(({ handle }) => handle.close()));
  }

  #find(inode: bigint, device: bigint): FileHandle | undefined {
    return this.#open.find((entry) => entry.inode === inode && entry.device === device)?.handle;
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
    this.#open.push({ inode: stat.ino, device: stat.dev, handle });
    if (this.#open.length > MAX_OPEN_FILES) await this.#open.shift()?.handle.close();
  }
}
