// Finds and opens the files that a followed log goes on in, whatever the pace of its reader.
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** How often the log's name is looked at: below what people notice, and a stat costs microseconds. */
export const POLL_MS = 100;
/** Files that wait open for a slow reader. An open file stays readable, and on the disk, when it is renamed, compressed or removed. */
export const MAX_WAITING = 32;
/** Whether a file of this name is what a log was rotated to. */
export const isRotated = (log: string, name: string): boolean => name.startsWith(`${log}.`) || name.startsWith(`${log}-`);

/** More than the time at the beginning of a record. */
const HEAD_BYTES = 64;
const RECORD_TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z? /;

type Found = { readonly file: FileHandle; readonly inode: bigint; readonly begin: string | undefined };

/**
 * The successors of a log file that is open. A rotated file keeps its inode and gets a name that begins with the log's; which file
 * follows which is told by the times of their first records. So any number of rotations between two looks is seen; what is not seen is a
 * file that came and went between two looks, or whose first record is older than those before it because somebody has set the clock back.
 */
export class LogRotations implements AsyncDisposable {
  readonly #path: string;
  readonly #waiting: FileHandle[] = [];
  readonly #over = new AbortController();
  /** The last one that was found: in use, or the end of those that wait. */
  #newest: { readonly file: FileHandle; readonly inode: bigint };
  /** Beginning of the newest file that has one: older files have been read, or were there before. */
  #since = '';
  /** Inodes that there was no room for. */
  #left = new Set<bigint>();
  #watching: Promise<void> = Promise.resolve();
  #looking: Promise<void> = Promise.resolve();
  #gap = false;

  private constructor(path: string, file: FileHandle, inode: bigint) {
    this.#path = path;
    this.#newest = { file, inode };
  }

  /** Watches from this file of that path on. It stays the caller's, and open until there is a next one. */
  static async from(path: string, file: FileHandle): Promise<LogRotations> {
    const rotations = new LogRotations(path, file, (await file.stat({ bigint: true })).ino);
    await rotations.#passOverOlder();
    rotations.#watching = rotations.#watch();
    return rotations;
  }

  /** The file behind the last one that was given, now the caller's; undefined while that one is in use. */
  async next(): Promise<FileHandle | undefined> {
    if (this.#waiting.length === 0) await this.#look();
    return this.#waiting.shift();
  }

  /** Whether a file that there was no room for has gone since this was asked last. */
  takeGap(): boolean {
    const gap = this.#gap;
    this.#gap = false;
    return gap;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#watching;
    await this.#looking.catch(() => {});
    await Promise.all(this.#waiting.splice(0).map(async (file) => await file.close()));
  }

  /** A log that is empty yet has no time: what was rotated away before is none of its successors. */
  async #passOverOlder(): Promise<void> {
    for (const { file, begin = '' } of await this.#siblings()) {
      await file.close();
      if (begin > this.#since) this.#since = begin;
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      await sleep(POLL_MS, undefined, { signal }).catch(() => {});
      // Whoever asks for the next file meets the same error.
      if (!signal.aborted) await this.#look().catch(() => {});
    }
  }

  /** One look at a time. */
  async #look(): Promise<void> {
    this.#looking = this.#looking.catch(() => {}).then(async () => await this.#find());
    await this.#looking;
  }

  async #find(): Promise<void> {
    const inode = await inodeAt(this.#path);
    // Renamed and not made again yet, or removed with the container: what is open stays readable.
    if (inode === undefined || inode === this.#newest.inode) return;
    this.#since = (await beginning(this.#newest.file)) ?? this.#since;
    const found = await this.#siblings();
    const fresh = found
      .filter((each) => each.inode !== this.#newest.inode)
      .filter(({ inode: own, begin }) => own === inode || (begin !== undefined && begin > this.#since))
      .sort((a, b) => (a.inode === inode ? 1 : b.inode === inode ? -1 : (a.begin ?? '') < (b.begin ?? '') ? -1 : 1));
    // Rotated again meanwhile: the next look sees names and files that belong together.
    const settled = fresh.at(-1)?.inode === inode && (await inodeAt(this.#path)) === inode;
    const taken = settled ? fresh.slice(0, MAX_WAITING - this.#waiting.length) : [];
    if (settled) this.#remember(fresh.slice(taken.length), fresh);
    for (const each of taken) {
      this.#waiting.push(each.file);
      this.#newest = each;
      this.#since = each.begin ?? this.#since;
    }
    await Promise.all(found.filter((each) => !taken.includes(each)).map(async ({ file }) => await file.close()));
  }

  #remember(left: readonly Found[], fresh: readonly Found[]): void {
    const there = new Set(fresh.map(({ inode }) => inode));
    if (!this.#left.isSubsetOf(there)) this.#gap = true;
    this.#left = new Set(left.map(({ inode }) => inode));
  }

  /** The log and what it was rotated to, open. */
  async #siblings(): Promise<Found[]> {
    const directory = dirname(this.#path);
    const name = basename(this.#path);
    const found: Found[] = [];
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (entry.name !== name && !(entry.isFile() && isRotated(name, entry.name))) continue;
      try {
        const file = await open(join(directory, entry.name), 'r');
        found.push({ file, inode: (await file.stat({ bigint: true })).ino, begin: await beginning(file) });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    return found;
  }
}

/** Time of the first record, such that later ones compare greater; undefined when the file is empty, or no log (compressed). */
async function beginning(file: FileHandle): Promise<string | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  const [, seconds, fraction = ''] = RECORD_TIME.exec(buffer.toString('latin1', 0, bytesRead)) ?? [];
  return seconds === undefined ? undefined : `${seconds}.${fraction.padEnd(9, '0')}`;
}

async function inodeAt(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).ino;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
