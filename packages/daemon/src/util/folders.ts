/** Makes folders with those above them that are missing. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from './errno.ts';
import { BerthError, messageOf } from './errors.ts';

/**
 * Makes a folder and what is missing above it. Not with Node's own `recursive`: where a file system answers ENOENT to every mkdir, as
 * /proc does, that tries again for ever.
 * @throws what mkdir(2) refuses
 */
export async function makeFolders(path: string, mode: number): Promise<void> {
  if (await makeOne(path, mode, true)) return;
  await makeFolders(dirname(path), mode);
  await makeOne(path, mode, false);
}

/** False where the folder above is missing, if that is asked for. */
async function makeOne(path: string, mode: number, mayMiss: boolean): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return true;
    if (code === 'ENOENT' && mayMiss && dirname(path) !== path) return false;
    throw error;
  }
}

/** Makes a folder that a setting names. @throws BerthError `FOLDER_UNUSABLE`, naming it */
export async function makeOwnFolder(what: string, path: string, mode: number): Promise<void> {
  try {
    await makeFolders(path, mode);
  } catch (cause) {
    throw unusable(`the ${what} ${path} cannot be made`, cause);
  }
}

/** The error for a folder of a setting, saying what the system has said. */
export const unusable = (what: string, cause: unknown): BerthError =>
  new BerthError('failed-precondition', 'FOLDER_UNUSABLE', `${what}: ${messageOf(cause)}`, {
    cause,
  });
