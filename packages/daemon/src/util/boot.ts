/** What tells one process and one boot of the host from another: a pid alone is reused. */
import { readFile } from 'node:fs/promises';
import { unless } from './errno.ts';

/** The id of this boot, as the kernel gives it; changes with every reboot. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Field 22 of /proc/PID/stat, counted behind the command name, which may hold blanks and parentheses. */
const START_TIME_FIELD_BEHIND_NAME = 19;

/**
 * Whether the process that began at this time is there, and not only waiting to be reaped.
 * @throws Error when it cannot be told: no descriptor is left
 */
export async function isRunning(pid: number, startTime: string): Promise<boolean> {
  const stat = await unless(['ENOENT', 'ESRCH'], readFile(`/proc/${pid}/stat`, 'utf8'));
  return stat !== undefined && startTimeOf(stat) === startTime;
}

/** Start time of a process in clock ticks since boot; undefined when it is gone, or dead and only waiting to be reaped. */
export async function readStartTime(pid: number): Promise<string | undefined> {
  try {
    return startTimeOf(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return undefined;
  }
}

function startTimeOf(stat: string): string | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[START_TIME_FIELD_BEHIND_NAME];
}
