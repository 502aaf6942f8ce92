/** What the image room does to the file system besides unpacking. */
import { execFile } from 'node:child_process';
import { mkdtemp, open, readdir, rename, rm, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf } from '../util/errno.ts';
import { BerthError } from '../util/errors.ts';
import { removeTrees } from '../util/trees.ts';

const run = promisify(execFile);

const OUT_OF_SPACE = new Set(['ENOSPC', 'EDQUOT']);

const NO_SPACE = 'IMAGE_NO_SPACE';

/** Whether it is what `explained` makes of a full disk. */
export const isNoSpace = (error: unknown): boolean => error instanceof BerthError && error.code === NO_SPACE;

/** Turns "disk full" into an error that says so; everything else stays what it is. */
export function explained(error: unknown): unknown {
  if (!OUT_OF_SPACE.has(errnoOf(error) ?? '')) return error;
  return new BerthError('resource-exhausted', NO_SPACE, 'there is no room left on the disk of the root directory', {
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

/** Removes everything in a directory. */
export async function emptyDirectory(path: string): Promise<void> {
  await removeTrees((await readdir(path)).map((name) => join(path, name)));
}
