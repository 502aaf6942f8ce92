// Speaks for a connection that is not read: signs of life to a peer that is there, and a last time for the input of one that is not.

import type { PeerState } from './peer-end.ts';

export type UnreadTimes = {
  /** Between two signs of life. */
  readonly signMs: number;
  /** How long the input of a peer that has ended waits to be read. */
  readonly lostInputMs: number;
};

export type UnreadEvents = {
  look(): Promise<PeerState>;
  /** It is there: it is told that the connection lives. */
  sign(): void;
  /** It has ended, and its time is over. */
  gone(): void;
};

/**
 * Nothing may be written to a peer that has closed its socket: it answers with a reset, the next write fails, and Node throws away what
 * has not been read.
 *
 *   resting --watch()--> signing --the peer has ended--> waiting --lostInputMs--> `gone` is said
 *      ^-----rest()---------'-------------rest()------------'
 */
export class UnreadPeer {
  readonly #times: UnreadTimes;
  readonly #events: UnreadEvents;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;

  constructor(times: UnreadTimes, events: UnreadEvents) {
    this.#times = times;
    this.#events = events;
  }

  get watching(): boolean {
    return this.#timer !== undefined;
  }

  /** The connection is not read any more. */
  watch(): void {
    this.#timer ??= setInterval(() => void this.#look(), this.#times.signMs).unref();
  }

  /** It is read again, or is over. */
  rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    // A kernel that takes longer than the time between two signs is not asked any more for it.
    if (this.#looking) return;
    this.#looking = true;
    const timer = this.#timer;
    const state = await this.#events.look();
    this.#looking = false;
    if (timer === undefined || this.#timer !== timer) return;
    if (state === 'there') this.#events.sign();
    if (state !== 'ended') return;
    clearInterval(timer);
    this.#timer = setTimeout(() => this.#events.gone(), this.#times.lostInputMs).unref();
  }
}
