// Keeps the tickets between a call and the connection that uses its URL: once, soon, and known by nobody else.

import { hash, randomBytes } from 'node:crypto';
import { BerthError } from '../util/errors.ts';
import type { SessionKind, Ticket } from './handler.ts';

/** 192 bits: guessing is hopeless however many tickets are open, and base64url needs no padding. */
const TOKEN_BYTES = 24;
const TOKEN_PATTERN = /^[A-Za-z0-9_-]{32}$/;

/** Time and one alarm; injected so that tests need not wait. */
export type TicketClock = {
  /** Milliseconds that only grow. */
  now(): number;
  /** Calls once after `ms`, without keeping the process alive; gives what cancels it. */
  alarm(ms: number, ring: () => void): () => void;
};

export type TicketOptions = {
  readonly ttlMs: number;
  /** Unused tickets at one time. */
  readonly max: number;
  /** A ticket expired unused. */
  expired(ticket: Ticket): void;
  readonly clock?: TicketClock;
};

type Entry = { readonly ticket: Ticket; readonly expiresAt: number };

const SYSTEM_CLOCK: TicketClock = {
  now: () => performance.now(),
  alarm: (ms, ring) => {
    const timer = setTimeout(ring, ms).unref();
    return () => clearTimeout(timer);
  },
};

/** Only hashes of tokens are kept: who can read the daemon's memory dump or heap snapshot cannot attach with it. */
export class Tickets {
  readonly #options: TicketOptions;
  readonly #clock: TicketClock;
  /** By hash of the token. All live equally long, so the order of insertion is the order of expiry. */
  readonly #entries = new Map<string, Entry>();
  #cancelAlarm: (() => void) | undefined;

  constructor(options: TicketOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  get size(): number {
    return this.#entries.size;
  }

  /**
   * Gives the token of a new ticket; it is not to be logged.
   * @throws BerthError `TOO_MANY_TICKETS` (resource-exhausted)
   */
  issue(ticket: Ticket): string {
    this.#expire();
    if (this.#entries.size >= this.#options.max) {
      throw new BerthError(
        'resource-exhausted',
        'TOO_MANY_TICKETS',
        `${this.#options.max} streaming URLs are unused already; use or wait for them before asking for more`,
      );
    }
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    this.#entries.set(hashed(token), { ticket, expiresAt: this.#clock.now() + this.#options.ttlMs });
    this.#arm();
    return token;
  }

  /** The ticket of a token, unused and not expired, for this method; it stays. */
  peek(token: string, method: SessionKind): Ticket | undefined {
    const entry = TOKEN_PATTERN.test(token) ? this.#entries.get(hashed(token)) : undefined;
    if (entry === undefined || entry.expiresAt <= this.#clock.now() || entry.ticket.method !== method) return undefined;
    return entry.ticket;
  }

  /** As `peek`, and the ticket is used with that: the second of two callers gets nothing. */
  take(token: string, method: SessionKind): Ticket | undefined {
    const ticket = this.peek(token, method);
    if (ticket !== undefined) this.#entries.delete(hashed(token));
    return ticket;
  }

  /** Lets every ticket expire now. */
  close(): void {
    this.#cancelAlarm?.();
    this.#cancelAlarm = undefined;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const { ticket } of entries) this.#options.expired(ticket);
  }

  #expire(): void {
    const now = this.#clock.now();
    for (const [key, { ticket, expiresAt }] of this.#entries) {
      if (expiresAt > now) return;
      this.#entries.delete(key);
      this.#options.expired(ticket);
    }
  }

  /** One alarm for all, for the oldest. */
  #arm(): void {
    if (this.#cancelAlarm !== undefined) return;
    const [oldest] = this.#entries.values();
    if (oldest === undefined) return;
    this.#cancelAlarm = this.#clock.alarm(Math.max(1, oldest.expiresAt - this.#clock.now()), () => {
      this.#cancelAlarm = undefined;
      this.#expire();
      this.#arm();
    });
  }
}

function hashed(token: string): string {
  return hash('sha256', token, 'base64');
}
