/** The daemon's memory on disk: one directory per pod or container, small JSON files in it, each written atomically. */
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from './errno.ts';
import { isId } from './ids.ts';
import { removeTree } from './trees.ts';
import { allSettled } from './wait.ts';

/** `record`: what never changes, written before anything is made. `status`: what changes; absent until the making has succeeded. */
export type RecordFile = 'record' | 'status';

/** What containers and pods need of it; tests put a crashing one in its place. */
export interface Records {
  /** Ids that have a directory, whatever is in it. Once, at the start: clears away what a killed daemon has left half written. */
  list(): Promise<readonly string[]>;
  /** Makes the directory and its `record` file. */
  create(id: string, record: object): Promise<void>;
  /** Makes the `record` file survive a power cut; beside the making of what it describes, since the disk takes milliseconds. */
  sync(id: string): Promise<void>;
  /** Undefined when the file is missing or is not JSON: after a power cut both happen. Any other failure rejects: nobody may clean up then. */
  read(id: string, file: RecordFile): Promise<unknown>;
  /** Replaces a file as a whole. Durable: survives a power cut, at the price of an fsync; else it survives only the daemon. */
  write(id: string, file: RecordFile, value: object, durable: boolean): Promise<void>;
  /** Removes the directory with everything in it. Idempotent. */
  remove(id: string): Promise<void>;
}

const HALF_WRITTEN = /^(?:record|status)\.json\.\d+\.tmp$/;

/** Records below one directory. */
export class FileRecords implements Records {
  readonly #dir: string;
  #temporary = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async list(): Promise<readonly string[]> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const ids = (await readdir(this.#dir)).filter(isId);
    for (const id of ids) await this.#dropHalfWritten(id);
    return ids;
  }

  async #dropHalfWritten(id: string): Promise<void> {
    // What cannot be looked into is told by whoever reads its record.
    const names = await readdir(join(this.#dir, id)).catch(() => []);
    for (const name of names.filter((one) => HALF_WRITTEN.test(one))) await rm(join(this.#dir, id, name), { force: true });
  }

  async create(id: string, record: object): Promise<void> {
    await mkdir(join(this.#dir, id), { recursive: true, mode: 0o700 });
    await this.write(id, 'record', record, false);
  }

  async sync(id: string): Promise<void> {
    await using file = await open(join(this.#dir, id, 'record.json'), 'r');
    await file.datasync();
  }

  async read(id: string, file: RecordFile): Promise<unknown> {
    try {
      const parsed: unknown = JSON.parse(await readFile(join(this.#dir, id, `${file}.json`), 'utf8'));
      return parsed;
    } catch (error) {
      if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async write(id: string, file: RecordFile, value: object, durable: boolean): Promise<void> {
    const path = join(this.#dir, id, `${file}.json`);
    // As HALF_WRITTEN knows it.
    await writeAtomic(path, `${path}.${++this.#temporary}.tmp`, `${JSON.stringify(value)}\n`, durable);
  }

  async remove(id: string): Promise<void> {
    await removeTree(join(this.#dir, id));
  }
}

/** Writes beside, syncs if asked, renames over. The directory is not synced: what a power cut takes away is a half-made thing then. */
async function writeAtomic(path: string, temporary: string, text: string, durable: boolean): Promise<void> {
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(text);
      if (durable) await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** What `making` gives, once the record is on the disk too. Never rejects before `making` has settled: nobody may clean up under it. */
export async function whileSyncing<T>(synced: Promise<void>, making: Promise<T>): Promise<T> {
  const [made] = await allSettled([making, synced]);
  return made;
}
