// Counts the sessions that run, in all and by container or pod, and holds their caps.

import { BerthError } from '../util/errors.ts';

/** What the table needs of a session's connection. */
export type Destroyable = { destroy(): void };

export type SessionCaps = { readonly maxSessions: number; readonly maxSessionsPerContainer: number };

/** Sessions from their upgrade to the end of their handler. */
export class SessionTable {
  readonly #caps: SessionCaps;
  readonly #running = new Map<Destroyable, Promise<unknown>>();
  readonly #byTarget = new Map<string, number>();

  constructor(caps: SessionCaps) {
    this.#caps = caps;
  }

  get size(): number {
    return this.#running.size;
  }

  /** The reason why no further session of this container or pod may start, or undefined. */
  full(targetId: string): BerthError | undefined {
    const { maxSessions, maxSessionsPerContainer } = this.#caps;
    if (this.#running.size >= maxSessions) {
      return new BerthError(
        'resource-exhausted',
        'TOO_MANY_SESSIONS',
        `there are ${maxSessions} sessions already, the most allowed`,
      );
    }
    if ((this.#byTarget.get(targetId) ?? 0) < maxSessionsPerContainer) return undefined;
    return new BerthError(
      'resource-exhausted',
      'TOO_MANY_SESSIONS',
      `container or pod ${targetId} has ${maxSessionsPerContainer} sessions already, the most allowed`,
    );
  }

  /** Counts a session until `served` settles; gives the promise of that. */
  add(targetId: string, transport: Destroyable, served: Promise<unknown>): void {
    this.#byTarget.set(targetId, (this.#byTarget.get(targetId) ?? 0) + 1);
    const done = served.finally(() => {
      this.#running.delete(transport);
      const left = (this.#byTarget.get(targetId) ?? 1) - 1;
      if (left > 0) this.#byTarget.set(targetId, left);
      else this.#byTarget.delete(targetId);
    });
    this.#running.set(transport, done);
  }

  /** Resolves when no session is left; more may come meanwhile. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }

  destroyAll(): void {
    for (const transport of this.#running.keys()) transport.destroy();
  }
}
