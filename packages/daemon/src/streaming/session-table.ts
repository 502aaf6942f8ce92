// Counts the sessions that run, in all and by container, and holds their caps.

import type { Transport } from '../transport/transport.ts';
import { BerthError } from '../util/errors.ts';

export type SessionCaps = { readonly maxSessions: number; readonly maxSessionsPerContainer: number };

/** Sessions from their upgrade to the end of their handler. */
export class SessionTable {
  readonly #caps: SessionCaps;
  readonly #running = new Map<Transport, Promise<unknown>>();
  readonly #byContainer = new Map<string, number>();

  constructor(caps: SessionCaps) {
    this.#caps = caps;
  }

  get size(): number {
    return this.#running.size;
  }

  /** The reason why no further session of this container may start, or undefined. */
  full(containerId: string): BerthError | undefined {
    const { maxSessions, maxSessionsPerContainer } = this.#caps;
    if (this.#running.size >= maxSessions) {
      return new BerthError(
        'resource-exhausted',
        'TOO_MANY_SESSIONS',
        `there are ${maxSessions} sessions already, the most allowed`,
      );
    }
    if ((this.#byContainer.get(containerId) ?? 0) < maxSessionsPerContainer) return undefined;
    return new BerthError(
      'resource-exhausted',
      'TOO_MANY_SESSIONS',
      `container ${containerId} has ${maxSessionsPerContainer} sessions already, the most allowed`,
    );
  }

  /** Counts a session until `served` settles; gives the promise of that. */
  add(containerId: string, transport: Transport, served: Promise<unknown>): void {
    this.#byContainer.set(containerId, (this.#byContainer.get(containerId) ?? 0) + 1);
    const done = served.finally(() => {
      this.#running.delete(transport);
      const left = (this.#byContainer.get(containerId) ?? 1) - 1;
      if (left > 0) this.#byContainer.set(containerId, left);
      else this.#byContainer.delete(containerId);
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
