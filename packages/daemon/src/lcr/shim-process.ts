/** Ends a shim that has outlived its container: while it waits for a daemon, or because nobody told it to leave. */
import { readFile, readlink, stat } from 'node:fs/promises';
import { uptime } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRunning, readStartTime } from '../util/boot.ts';
import { errnoOf, unless } from '../util/errno.ts';

/** USER_HZ: clock ticks of /proc/PID/stat, 100 a second on every architecture that Berth runs on. */
const TICKS_PER_SECOND = 100;
/** A shim writes its pid file right after its start; the clocks compared here are this exact, and more. */
const CLOCK_SLACK_S = 2;
/** How long a killed shim is waited for, and how often it is looked at. */
const END_TIMEOUT_MS = 5_000;
const POLL_MS = 2;

const alive = async (pid: number, binary: string): Promise<boolean> => {
  const exe = await unless(['ENOENT', 'ESRCH', 'EACCES'], readlink(`/proc/${pid}/exe`));
  // An upgrade gives the old binary a name of its own behind the same one (see host.ts), or replaces it: the kernel then says "deleted".
  const file = exe?.replace(/ \(deleted\)$/, '');
  return file === binary || file?.startsWith(`${binary}.`) === true;
};

/**
 * Kills the shim of a state directory. The pid may have been reused: only a process of the shim's binary that was there
 * before its pid file is the one. Idempotent.
 */
export const endShim = async (stateDirectory: string, binary: string): Promise<void> => {
  const path = `${stateDirectory}/shim.pid`;
  const text = await unless(['ENOENT', 'ENOTDIR'], readFile(path, 'utf8'));
  const pid = Number(text);
  if (!Number.isSafeInteger(pid) || pid < 2 || !(await alive(pid, binary))) return;
  const [file, started] = await Promise.all([unless(['ENOENT'], stat(path)), readStartTime(pid)]);
  if (file === undefined || started === undefined) return;
  const writtenAt = uptime() - (Date.now() - file.mtimeMs) / 1000;
  if (Number(started) / TICKS_PER_SECOND > writtenAt + CLOCK_SLACK_S) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
  const deadline = performance.now() + END_TIMEOUT_MS;
  // Its file is gone before LXC, which ends with it, is told.
  while (performance.now() < deadline && (await isRunning(pid, started))) await sleep(POLL_MS);
};
