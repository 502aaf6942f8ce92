// Keeps connections that are no session (yet) from taking the place of those that will be: many that say nothing are nobody's right.

import type { Server, Socket } from 'node:net';
import type { Log } from '../util/log.ts';

/** Whoever tries a thousand connections must not write a thousand lines. */
const SAY_AGAIN_MS = 60_000;

/** Connections at one time; see `StreamingConfig`. */
export type ConnectionLimits = { readonly maxConnections: number; readonly maxWaitingConnections: number };

/** What else may be worth a line in the log; the address is the client's. */
export type ConnectionEvents = { evicted(remoteAddress: string): void; refused(remoteAddress: string): void };

/**
 * Counts a server's connections. One too many that waits takes the place of the oldest, out of those of the address that has most: a
 * proper client is served within milliseconds and meets this only where thousands come within them. One too many in all is closed at once.
 */
export class WaitingConnections {
  readonly #limits: ConnectionLimits;
  readonly #events: ConnectionEvents;
  /** By `keyOf`, oldest first. */
  readonly #waiting = new Map<string, Socket>();
  readonly #perAddress = new Map<string, number>();
  #all = 0;

  constructor(server: Server, limits: ConnectionLimits, events: ConnectionEvents) {
    this.#limits = limits;
    this.#events = events;
    // Also for TLS the bare TCP connection, before any handshake.
    server.on('connection', (socket: Socket) => this.#add(socket));
  }

  /** Connections that are no session (yet). */
  get size(): number {
    return this.#waiting.size;
  }

  /** The connection has become a session: from here on its caps count. `socket` may be the TLS socket over the one that was counted. */
  served(socket: Socket): void {
    this.#leave(keyOf(socket));
  }

  /** Closes every connection that is no session. */
  destroyWaiting(): void {
    for (const socket of this.#waiting.values()) socket.destroy();
  }

  #add(socket: Socket): void {
    const { remoteAddress: address } = socket;
    // Gone again before anybody looked.
    if (address === undefined) return void socket.destroy();
    const key = keyOf(socket);
    if (this.#all >= this.#limits.maxConnections && !this.#evict()) {
      this.#events.refused(address);
      socket.destroy();
      return;
    }
    if (this.#waiting.size >= this.#limits.maxWaitingConnections) this.#evict();
    this.#all += 1;
    this.#waiting.set(key, socket);
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
    socket.once('close', () => {
      this.#all -= 1;
      if (this.#waiting.get(key) === socket) this.#leave(key);
    });
  }

  /** Closes the oldest of the address that has most waiting; false when none waits. */
  #evict(): boolean {
    let busiest = '';
    let most = 0;
    for (const [address, count] of this.#perAddress) if (count > most) [busiest, most] = [address, count];
    const oldest = this.#waiting.entries().find(([key]) => addressOf(key) === busiest);
    if (oldest === undefined) return false;
    const [key, socket] = oldest;
    this.#leave(key);
    this.#events.evicted(busiest);
    socket.destroy();
    return true;
  }

  #leave(key: string): void {
    if (!this.#waiting.delete(key)) return;
    const address = addressOf(key);
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }
}

/** Tells an operator that a limit works, each at most once a minute, and everything to who looks for it. */
export function connectionLog(log: Log): ConnectionEvents {
  const saidAt = new Map<string, number>();
  const say = (remote: string, what: string): void => {
    const now = performance.now();
    const quiet = now - (saidAt.get(what) ?? -Infinity) < SAY_AGAIN_MS;
    if (!quiet) saidAt.set(what, now);
    log[quiet ? 'debug' : 'warn']({ remote }, what);
  };
  return {
    evicted: (remote) => say(remote, 'too many connections send no request: the oldest was closed'),
    refused: (remote) => say(remote, 'a connection was refused: streaming.max_connections is reached'),
  };
}

/** A server's connections differ in the client's end. */
const keyOf = (socket: Socket): string => `${socket.remotePort ?? ''} ${socket.remoteAddress ?? ''}`;

const addressOf = (key: string): string => key.slice(key.indexOf(' ') + 1);
