/**
 * Has the memory of what is read from clients, and from pods for them, collected early. Node takes 64 KiB of fresh memory for each read, V8 lets tens of MiB of it
 * become garbage before it looks, and the C library keeps that room for good: after a loud client it would be most of the daemon's own.
 */

/**
 * Bytes read, of all connections together, until the next collection of what is young, which takes a fraction of a millisecond. Less than the
 * 8 MiB after which V8 collects everything, once the daemon has given memory back at rest (decisions 0012 and 0016).
 */
export const COLLECT_AFTER_BYTES = 4 * 1024 * 1024;

let uncollected = 0;

/** A read has brought so many bytes in memory that Node has made for it. Does nothing where Node runs without `--expose-gc`. */
export function readIntoFreshMemory(bytes: number): void {
  uncollected += bytes;
  if (uncollected < COLLECT_AFTER_BYTES) return;
  uncollected = 0;
  globalThis.gc?.({ type: 'minor', execution: 'sync' });
}
