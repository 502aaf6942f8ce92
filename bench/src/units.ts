/** Units of what is measured. */

export const MIB = 1024 * 1024;
export const KIB = 1024;
const MEGA = 1e6;
const MS_PER_SECOND = 1000;

/** A clock for durations, in milliseconds. */
export const now = (): number => performance.now();

export const megabytesPerSecond = (bytes: number, ms: number): number => bytes / MEGA / (ms / MS_PER_SECOND);
