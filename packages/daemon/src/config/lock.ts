/** One daemon per root folder and per state folder: a lock that names its holder, so that the lock of a dead daemon is recognised. */
import { link, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
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

/**
 * The lock is a link to nowhere that says who holds it: made in one step or not at all, and where a full disk has no room for a file. A daemon
 * that could not be started then would leave nobody who can remove an image or a container.
 */
async function lock(path: string, locked: Locked): Promise<AsyncDisposable> {
  const own = `${process.pid} ${(await readStartTime(process.pid)) ?? ''} ${await readBootId()}`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (await madeNew(path, () => symlink(own, path))) {
      await clearLeftovers(path);
      return { [Symbol.asyncDispose]: () => unlock(path, own) };
    }
    const held = await readLock(path);
    if (held === undefined) continue;
    if (await isAlive(held)) throw locked(pidOf(held));
    await removeStale(path, held, locked);
  }
  throw locked('?');
}

/** False when there is one already. */
async function madeNew(path: string, make: () => Promise<void>): Promise<boolean> {
  try {
    await make();
    return true;
  } catch (cause) {
    if (errnoOf(cause) === 'EEXIST') return false;
    throw unusable(`no file can be made in ${dirname(path)}`, cause);
  }
}

/** What a lock says; undefined when it is gone. Daemons of before made files. */
const readLock = (path: string): Promise<string | undefined> =>
  readlink(path)
    .catch(() => readFile(path, 'utf8'))
    .catch(() => undefined);

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
  const moved = await readLock(aside);
  if (moved !== stale) {
    await madeNew(path, () => link(aside, path));
    await rm(aside, { force: true });
    throw locked(pidOf(moved ?? '?'));
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
  if ((await readLock(path)) === own) await rm(path, { force: true });
}

const pidOf = (held: string): string => held.split(' ', 1)[0] ?? '?';
