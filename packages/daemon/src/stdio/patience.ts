/** How long a container with a log waits for who reads its output: never for a slow client, for moments for a quick one. */

/**
 * A client that takes at least this much is waited for: it would fall back to the log by a hair's breadth otherwise, and everything would
 * be carried twice, which slows the container more. No container is slowed below this by who watches it.
 */
const LEAST_BYTES_PER_MS = 100_000;
/** Waited for at most at one time, ms: what a process may have to wait for a processor. */
const MOST_MS = 20;

/** Waiting is paid for with bytes taken: the client that is furthest on earns it for all. */
export class Patience {
  readonly #now: () => number;
  /** Who comes is taken for quick until it has shown otherwise. */
  #leftMs = MOST_MS;
  #taken = 0;
  /** Since when it waits; undefined while it does not. */
  #since: number | undefined;

  /** @param now a clock in ms; injected by tests only */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get waits(): boolean {
    return this.#since !== undefined;
  }

  /**
   * May the container be kept waiting for the client that is furthest on?
   * @param taken offset up to which it has taken the output
   * @returns for how long from now on, ms; 0: not any longer
   */
  waitFor(taken: number): number {
    this.rest();
    const earned = Math.max(0, taken - this.#taken) / LEAST_BYTES_PER_MS;
    this.#leftMs = Math.min(MOST_MS, this.#leftMs + earned);
    this.#taken = taken;
    if (this.#leftMs > 0) this.#since = this.#now();
    return Math.max(0, this.#leftMs);
  }

  /** Nobody is waited for: the client has everything, or there is none that keeps up. */
  rest(): void {
    if (this.#since === undefined) return;
    // Timers are late: what was waited beyond what was earned is earned first.
    this.#leftMs = Math.max(-MOST_MS, this.#leftMs - (this.#now() - this.#since));
    this.#since = undefined;
  }
}
