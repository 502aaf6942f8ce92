// Tells whether a peer has sent its FIN though we do not read: it waits behind what was sent before, and Node says nothing of it.

import type { Socket } from 'node:net';
import { recentTcpEntry, tcpKey } from './tcp-table.ts';

/** The table changes while it is read: what is missing from it once may have been passed over. */
const MISSED_LOOKS = 2;

/** Of one connection. */
export class PeerEnd {
  readonly #key: string | undefined;
  #known = false;
  /** Looks in a row that have not found it. */
  #missed = 0;
  #ended = false;

  constructor(socket: Socket) {
    this.#key = tcpKey(socket);
  }

  /** What the last look has found. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Asks the kernel. A connection that it knew and knows no more has been reset; what had come by then can still be read. */
  async look(): Promise<boolean> {
    if (this.#ended) return true;
    try {
      const entry = await recentTcpEntry(this.#key);
      this.#known ||= entry !== undefined;
      this.#missed = entry === undefined ? this.#missed + 1 : 0;
      this.#ended = entry?.peerEnded ?? (this.#known && this.#missed >= MISSED_LOOKS);
    } catch {
      // Nothing is learnt.
    }
    return this.#ended;
  }
}
