/** What the image room does to the file system besides unpacking. */
import { execFile } from 'node:child_process';
import { mkdtemp, open, readdir, rename, rm, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { BerthError } from '../util/errors.ts';

const run = promisify(execFile);

const OUT_OF_SPACE = new Set<unknown>(['ENOSPC', 'EDQUOT']);

/** Turns "disk full" into an error that says so; everything else stays what it is. */
export function explained(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || !OUT_OF_SPACE.has(error.code)) return error;
  return new BerthError('resource-exhausted', 'IMAGE_NO_SPACE', 'there is no room left on the disk of the root directory', {
    cause: error,
  });
}

const temporaryOf = (path: string): string => `${path}.new`;

/** Replaces a file as a whole, durably: after a power cut it has the old or the new content. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const temporary = temporaryOf(path);
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Clears away what a `replaceFile` that was cut short has left beside the file. */
export async function dropHalfReplaced(path: string): Promise<void> {
  await rm(temporaryOf(path), { force: true });
}

/** A file without a name: whatever happens to the daemon, nothing of it stays on the disk. */
export async function anonymousFile(directory: string): Promise<FileHandle> {
  const holder = await mkdtemp(join(directory, 's'));
  const path = join(holder, 'spool');
  try {
    const file = await open(path, 'wx+', 0o600);
    await unlink(path);
    return file;
  } finally {
    await rm(holder, { recursive: true, force: true });
  }
}

/** Forces what has been written to the file system of `path` onto the disk: tar's thousands of files at once. */
export async function syncFileSystem(path: string): Promise<void> {
  await run('sync', ['--file-system', path]);
}

/** The tar of a daemon that was killed may write for a moment longer, until it notices that its input has ended. */
const REMOVE_ATTEMPTS = 20;
const REMOVE_PAUSE_MS = 50;

/** Removes trees. Not with Node's own `rm`: names in images need not be UTF-8, and it would keep the event loop busy. */
export async function removeTrees(paths: readonly string[]): Promise<void> {
  for (let attempt = 1; paths.length > 0; attempt++) {
    try {
      await run('rm', ['--recursive', '--force', '--one-file-system', '--', ...paths]);
      return;
    } catch (error) {
      if (attempt === REMOVE_ATTEMPTS) throw error;
      await sleep(REMOVE_PAUSE_MS);
    }
  }
}

/** Removes everything in a directory. */
export async function emptyDirectory(path: string): Promise<void> {
  await removeTrees((await readdir(path)).map((name) => join(path, name)));
}
