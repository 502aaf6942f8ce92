/** A status that only one function changes: persisted first, then visible, one change at a time. */
import type { Log } from './log.ts';

/**
 * For a `keep` that nobody can do anything about: what has happened is shown, the log says that it could not be written down, and the next
 * start finds out again. Never rejects.
 */
export async function shownAnyway(log: Log, of: object, updated: Promise<unknown>): Promise<void> {
  try {
    await updated;
  } catch (error) {
    log.error({ ...of, err: error }, 'a change of state could not be written down');
  }
}

/** Holds the status of one pod or container. */
export class Transactional<S extends object> {
  readonly #persist: (status: S, durable: boolean) => Promise<void>;
  #current: S;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(initial: S, persist: (status: S, durable: boolean) => Promise<void>) {
    this.#current = initial;
    this.#persist = persist;
  }

  get current(): S {
    return this.#current;
  }

  /**
   * Applies `change` to the newest status, writes the outcome, then shows it. When `change` gives back the same object nothing happens.
   * When writing fails nothing has changed, unless `keep` is set: what has happened in the world is shown even if the disk is full;
   * the error is thrown all the same.
   */
  update(change: (status: S) => S, options: { readonly durable?: boolean; readonly keep?: boolean } = {}): Promise<S> {
    const run = async (): Promise<S> => {
      const next = change(this.#current);
      if (next === this.#current) return next;
      if (options.keep === true) this.#current = next;
      await this.#persist(next, options.durable === true);
      this.#current = next;
      return next;
    };
    const outcome = this.#queue.then(run);
    this.#queue = outcome.catch(() => {});
    return outcome;
  }
}
