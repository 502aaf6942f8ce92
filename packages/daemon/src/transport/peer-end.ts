// Tells whether a peer has sent its FIN though we do not read: it waits behind what was sent before, and Node says nothing of it.

import type { Socket } from 'node:net';
import { freshTcpEntry, recentTcpEntry, type TcpEntry, tcpKey } from './tcp-table.ts';

/** Two ways to ask the kernel; replaced by tests only. */
export type TcpEntries = {
  readonly recent: (key: string | undefined) => Promise<TcpEntry | undefined>;
  readonly fresh: (key: string | undefined) => Promise<TcpEntry | undefined>;
};

const KERNEL: TcpEntries = { recent: recentTcpEntry, fresh: freshTcpEntry };

/** Of one connection. */
export class PeerEnd {
  readonly #key: string | undefined;
  readonly #entries: TcpEntries;
  #known = false;
  #ended = false;

  constructor(socket: Socket, entries = KERNEL) {
    this.#key = tcpKey(socket);
    this.#entries = entries;
  }

  /** What the last look has found. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Asks the kernel. A connection that it knew and knows no more has been reset; what had come by then can still be read, as long as nothing
   * is written, which would fail.
   */
  async look(): Promise<boolean> {
    if (this.#ended) return true;
    try {
      let entry = await this.#entries.recent(this.#key);
      // The table changes while it is read: what is missing from it once may have been passed over.
      if (entry === undefined && this.#known) entry = await this.#entries.fresh(this.#key);
      this.#ended = entry?.peerEnded ?? this.#known;
      this.#known ||= entry !== undefined;
    } catch {
      // Nothing is learnt.
    }
    return this.#ended;
  }
}
