/** What /proc tells about the processes of a runtime. */
import { readdir, readFile, readlink } from 'node:fs/promises';

/** USER_HZ: what /proc counts processor time in, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const KIB = 1024;

/** A process may end while it is being looked at; it counts for nothing then. */
const orNothing = async <T>(reading: Promise<T>): Promise<T | undefined> => {
  try {
    return await reading;
  } catch {
    return undefined;
  }
};

/** Numbers of all processes. */
export const processes = async (): Promise<readonly number[]> =>
  (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);

/** The arguments of a process, blanks between them; empty for one that has ended. */
export const commandLine = async (pid: number): Promise<string> =>
  (await orNothing(readFile(`/proc/${pid}/cmdline`, 'latin1')))?.replaceAll('\0', ' ') ?? '';

/** Processes whose command line matches. */
export const processesNamed = async (matches: (commandLine: string) => boolean): Promise<readonly number[]> => {
  const found = await Promise.all((await processes()).map(async (pid) => (matches(await commandLine(pid)) ? [pid] : [])));
  return found.flat();
};

/** Whether this process lives in the host's pid namespace, as everything outside the containers does. */
export const outsideContainers = async (pid: number): Promise<boolean> =>
  (await orNothing(readlink(`/proc/${pid}/ns/pid`))) === (await readlink('/proc/self/ns/pid'));

/** Proportional set size in bytes: pages that several processes share count once in all. */
export const pss = async (pids: readonly number[]): Promise<number> => {
  const sizes = await Promise.all(
    pids.map(async (pid) => {
      const text = await orNothing(readFile(`/proc/${pid}/smaps_rollup`, 'utf8'));
      return Number(/^Pss:\s+(\d+) kB/m.exec(text ?? '')?.[1] ?? 0) * KIB;
    }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
};

/** Processor time that these have used so far, in seconds, user and system. */
export const cpuSeconds = async (pids: readonly number[]): Promise<number> => {
  const times = await Promise.all(
    pids.map(async (pid) => {
      const text = (await orNothing(readFile(`/proc/${pid}/stat`, 'latin1'))) ?? '';
      // The name in parentheses may hold blanks; utime and stime are the 14th and 15th field of all.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
    }),
  );
  return times.reduce((sum, ticks) => sum + ticks, 0) / TICKS_PER_SECOND;
};

/** The flags of a listening socket in /proc/net/unix (`__SO_ACCEPTCON`). */
const LISTENING = '00010000';

/** The process that listens on a unix socket; undefined when nobody does. */
export const listenerOf = async (socket: string): Promise<number | undefined> => {
  const lines = (await readFile('/proc/net/unix', 'utf8')).split('\n').filter((text) => text.endsWith(` ${socket}`));
  // Accepted connections have the same path; one that has just ended belongs to nobody.
  const listening = lines.map((text) => text.trim().split(/\s+/)).find((fields) => fields[3] === LISTENING);
  const inode = listening?.[6];
  if (inode === undefined) return undefined;
  for (const pid of await processes()) {
    for (const fd of (await orNothing(readdir(`/proc/${pid}/fd`))) ?? []) {
      if ((await orNothing(readlink(`/proc/${pid}/fd/${fd}`))) === `socket:[${inode}]`) return pid;
    }
  }
  return undefined;
};
