/** A limit on how long something may take to come over a socket, or not come: what has come is read before it rings. */

/**
 * Node rings timers that are due before it asks its sockets. In a process that had no turn for a while (stopped, frozen with its machine, busy)
 * a bare timer would say that nothing has come while it lies in the kernel.
 */
export class Deadline {
  readonly #timer: NodeJS.Timeout;
  #turn: NodeJS.Immediate | undefined;

  /** @param ms counted from now on; no more than 2^31 - 1 */
  constructor(ms: number, ring: () => void) {
    // Not unref'd: the loop would not be kept from waiting for the next event of others before it rings.
    this.#timer = setTimeout(() => (this.#turn = setImmediate(ring)), ms);
  }

  /** Waiting for it does not keep the process alive. */
  unref(): this {
    this.#timer.unref();
    return this;
  }

  /** Counts from now on again, unless it has been cancelled. */
  refresh(): void {
    clearImmediate(this.#turn);
    this.#timer.refresh();
  }

  /** It does not ring any more. */
  cancel(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#turn);
  }
}
