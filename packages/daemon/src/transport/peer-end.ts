// Tells whether a peer has sent its FIN though we do not read: it waits behind what was sent before, and Node says nothing of it.

import type { Socket } from 'node:net';
import { recentTcpEntry, tcpKey } from './tcp-table.ts';

export class PeerEnd {
  readonly #key: string | undefined;
  #known = false;
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
    const entry = await recentTcpEntry(this.#key);
    this.#ended = entry === undefined ? this.#known : entry.peerEnded;
    this.#known = entry !== undefined;
    return this.#ended;
  }
}
