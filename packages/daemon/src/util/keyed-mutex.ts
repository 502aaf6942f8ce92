/** Serialises operations on one container or pod, while different ones go on in parallel. */

/** A mutex per key; a key without holder or waiter costs nothing. First come, first served. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `action` when every earlier action of the same key has settled. Its failure is the caller's, not the next one's. */
  async run<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const { promise: done, resolve: release } = Promise.withResolvers<void>();
    const tail = before === undefined ? done : before.then(() => done);
    this.#tails.set(key, tail);
    try {
      await before;
      return await action();
    } finally {
      release();
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }

  /** Keys that are held or waited for. */
  get size(): number {
    return this.#tails.size;
  }
}
