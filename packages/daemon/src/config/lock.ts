/** One daemon per root folder and per state folder: a lock file that names its holder, so that the lock of a dead daemon is recognised. */
import { link, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readBootId, readStartTime } from '../util/boot.ts';
import { errnoOf } from '../util/errno.ts';
import { BerthError } from '../util/errors.ts';
import { unusable } from '../util/folders.ts';

const ROOT_LOCK = 'berthd.lock';
/** Another name: both folders may be one. */
const STATE_LOCK = 'state.lock';
/** Each failed attempt means that another daemon has come or gone meanwhile. */
const ATTEMPTS = 5;

/**
 * Takes the lock of a root folder, or replaces that of a daemon that is gone.
 * @throws BerthError `ROOT_LOCKED`, naming the pid of the daemon that holds it; `FOLDER_UNUSABLE`
 */
export const lockRoot = (root: string): Promise<AsyncDisposable> =>
  lock(
    join(root, ROOT_LOCK),
    (pid) =>
      new BerthError('failed-precondition', 'ROOT_LOCKED', `the root folder ${root} is in use by another berthd (pid ${pid})`),
  );

/**
 * The same for a state folder: what is mounted there is taken down by the daemon that has the lock, and by nobody else.
 * @throws BerthError `STATE_LOCKED`, `FOLDER_UNUSABLE`
 */
export const lockState = (state: string): Promise<AsyncDisposable> =>
  lock(
    join(state, STATE_LOCK),
    (pid) =>
      new BerthError('failed-precondition', 'STATE_LOCKED', `the state folder ${state} is in use by another berthd (pid ${pid})`),
  );

/** The error for a lock that the daemon `pid` holds. */
type Locked = (pid: string) => BerthError;

async function lock(path: string, locked: Locked): Promise<AsyncDisposable> {
  const own = `${process.pid} ${(await readStartTime(process.pid)) ?? ''} ${await readBootId()}\n`;
  const temporary = `${path}.${process.pid}`;
  try {
    await rm(temporary, { force: true });
    // Exclusive: nobody has checked yet who else may make links in this folder.
    await writeFile(temporary, own, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw unusable(`no file can be made in ${dirname(path)}`, cause);
  }
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (await tryLink(temporary, path)) {
        await clearLeftovers(path);
        return { [Symbol.asyncDispose]: () => unlock(path, own) };
      }
      const held = await readFile(path, 'utf8').catch(() => undefined);
      if (held === undefined) continue;
      if (await isAlive(held)) throw locked(pidOf(held));
      await removeStale(path, held, locked);
    }
    throw locked('?');
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
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function isAlive(held: string): Promise<boolean> {
  const [pid = '', startTime = '', bootId = ''] = held.trim().split(' ');
  if (bootId !== (await readBootId())) return false;
  return (await readStartTime(Number(pid))) === startTime;
}

/** Moves the lock aside and looks at what was moved: two daemons may find the same stale lock, and the second must not take the first's new one. */
async function removeStale(path: string, stale: string, locked: Locked): Promise<void> {
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
    throw locked(pidOf(moved));
  }
  await rm(aside, { force: true });
}

/** What daemons that were killed while they took the lock have left: names that end with the id of a process that is gone. */
async function clearLeftovers(path: string): Promise<void> {
  const prefix = `${basename(path)}.`;
  for (const name of await readdir(dirname(path))) {
    const [, pid] = name.startsWith(prefix) ? (/^(?:stale\.)?(\d+)$/.exec(name.slice(prefix.length)) ?? []) : [];
    if (pid === undefined || (await readStartTime(Number(pid))) !== undefined) continue;
    await rm(join(dirname(path), name), { force: true });
  }
}

async function unlock(path: string, own: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === own) await rm(path, { force: true });
}

const pidOf = (held: string): string => held.split(' ', 1)[0] ?? '?';
