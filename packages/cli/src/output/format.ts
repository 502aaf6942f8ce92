// How ages, sizes and ids look in tables.

/** Shortest form that is still told apart on any machine; every prefix that is unique works. */
const SHORT_ID = 12;
const NS_PER_MS = 1_000_000n;
const UNITS: readonly (readonly [name: string, seconds: number])[] = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
];

/** An id as tables show it. */
export const shortId = (id: string): string => id.replace(/^sha256:/, '').slice(0, SHORT_ID);

/** Time since then in its largest unit: `3h`. `then` is in nanoseconds since 1970; 0 is never. */
export function age(then: bigint, nowMs = Date.now()): string {
  if (then === 0n) return '-';
  const seconds = Math.max(0, Math.floor((nowMs - Number(then / NS_PER_MS)) / 1000));
  const [name, unit] = UNITS.find(([, each]) => seconds >= each) ?? ['s', 1];
  return `${Math.floor(seconds / unit)}${name}`;
}

/** Bytes in decimal units, as disks are sold: `4.2 MB`. */
export function size(bytes: bigint): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** RFC 3339 in UTC; 0 is empty. */
export const time = (ns: bigint): string => (ns === 0n ? '' : new Date(Number(ns / NS_PER_MS)).toISOString());
