// Tells whether a peer has sent its FIN though we do not read: it waits behind what was sent before, and Node says nothing of it.

import type { Socket } from 'node:net';
import { recentTcpEntry, tcpKey } from './tcp-table.ts';

/** The table changes while it is read: what is missing from it once may have been passed over. */
const MISSED_LOOKS = 2;

/** `missing`: the kernel had no such connection this time. To what is not `there` nothing should be written. */
export type PeerState = 'there' | 'missing' | 'ended';

/** Of one connection. */
export class PeerEnd {
  readonly #key: string | undefined;
  readonly #entry: typeof recentTcpEntry;
  #known = false;
  /** Looks in a row that have not found it. */
  #missed = 0;
  #ended = false;

  /** @param entry asks the kernel; replaced by tests only */
  constructor(socket: Socket, entry = recentTcpEntry) {
    this.#key = tcpKey(socket);
    this.#entry = entry;
  }

  /** What the last look has found. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Asks the kernel. A connection that it knew and knows no more has been reset; what had come by then can still be read, as long as nothing
   * is written, which would fail.
   */
  async look(): Promise<PeerState> {
    if (this.#ended) return 'ended';
    try {
      const entry = await this.#entry(this.#key);
      this.#known ||= entry !== undefined;
      this.#missed = entry === undefined && this.#known ? this.#missed + 1 : 0;
      this.#ended = entry?.peerEnded ?? this.#missed >= MISSED_LOOKS;
    } catch {
      // Nothing is learnt.
    }
    if (this.#ended) return 'ended';
    return this.#missed > 0 ? 'missing' : 'there';
  }
}
