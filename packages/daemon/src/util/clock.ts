/** Wall-clock time as CRI wants it. */

const NS_PER_MS = 1_000_000n;
let last = 0n;

/** Nanoseconds since 1970, strictly increasing within the process, so that two pods of one millisecond have an order. */
export function nowNs(): bigint {
  const now = BigInt(Date.now()) * NS_PER_MS;
  last = now > last ? now : last + 1n;
  return last;
}
