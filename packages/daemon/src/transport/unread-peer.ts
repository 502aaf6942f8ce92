// Speaks for a connection that is not read: signs of life to a peer that is there, and a last time for the input of one that is not.

export type UnreadTimes = {
  /** Between two signs of life. */
  readonly signMs: number;
  /** How long the input of a peer that has ended waits to be read. */
  readonly lostInputMs: number;
};

export type UnreadEvents = {
  /** Whether the peer has ended. */
  look(): Promise<boolean>;
  /** It has not: it is told that the connection lives. */
  sign(): void;
  /** It has, and its time is over. */
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
    const timer = this.#timer;
    const ended = await this.#events.look();
    if (timer === undefined || this.#timer !== timer) return;
    if (!ended) return this.#events.sign();
    clearInterval(timer);
    this.#timer = setTimeout(() => this.#events.gone(), this.#times.lostInputMs).unref();
  }
}
