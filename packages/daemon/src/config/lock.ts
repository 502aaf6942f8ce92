/** One daemon per root folder: a lock file that names its holder, so that the lock of a dead daemon is recognised. */
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBootId, readStartTime } from '../util/boot.ts';
import { BerthError } from '../util/errors.ts';

const LOCK_FILE = 'berthd.lock';
/** Each failed attempt means that another daemon has come or gone meanwhile. */
const ATTEMPTS = 5;

/**
 * Takes the lock of a root folder, or replaces that of a daemon that is gone.
 * @throws BerthError `ROOT_LOCKED`, naming the pid of the daemon that holds it
 */
export async function lockRoot(root: string): Promise<AsyncDisposable> {
  const path = join(root, LOCK_FILE);
  const own = `${process.pid} ${(await readStartTime(process.pid)) ?? ''} ${await readBootId()}\n`;
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, own, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await tryLink(temporary, path)) return { [Symbol.asyncDispose]: () => unlock(path, own) };
      const held = await readFile(path, 'utf8').catch(() => undefined);
      if (held === undefined) continue;
      if (await isAlive(held)) throw locked(root, held);
      await removeStale(path, held, root);
    }
    throw locked(root, 'another');
  } finally {
    await rm(temporary, { force: true });
  }
}

/** link(2) makes the file with its content in one step, or fails. */
async function tryLink(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

async function isAlive(held: string): Promise<boolean> {
  const [pid = '', startTime = '', bootId = ''] = held.trim().split(' ');
  if (bootId !== (await readBootId())) return false;
  return (await readStartTime(Number(pid))) === startTime;
}

/** Moves the lock aside and looks at what was moved: two daemons may find the same stale lock, and the second must not take the first's new one. */
async function removeStale(path: string, stale: string, root: string): Promise<void> {
  const aside = `${path}.stale.${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  const moved = await readFile(aside, 'utf8');
  if (moved !== stale) {
    await tryLink(aside, path);
    await rm(aside, { force: true });
    throw locked(root, moved);
  }
  await rm(aside, { force: true });
}

async function unlock(path: string, own: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === own) await rm(path, { force: true });
}

const locked = (root: string, held: string): BerthError =>
  new BerthError(
    'failed-precondition',
    'ROOT_LOCKED',
    `the root folder ${root} is in use by another berthd (pid ${held.split(' ', 1)[0] ?? '?'})`,
  );
