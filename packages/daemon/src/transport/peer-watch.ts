// Finds connections whose peer has vanished without a word while something is on its way to it: there the kernel itself would try for a quarter of an hour.

import type { Socket } from 'node:net';
import { readTcpTable, type TcpEntry, tcpKey } from './tcp-table.ts';

/** How often connections are looked at. */
const LOOK_MS = 5_000;
/** Looks without a byte from the peer before the kernel is asked: about the time between two pings, so that a live peer hardly ever gets there. */
const SILENT_LOOKS = 3;
/**
 * Looks in a row at which the kernel says that it tries in vain, before a connection is given up: half a minute. With the silence before
 * it that is less than a minute after the peer's last byte, and long enough for a cable that is plugged in again.
 */
const FUTILE_LOOKS = 7;
/** By then the kernel has sent the same data again so often, or (where the peer had no room) asked so often; one packet that got lost is no proof. */
const MIN_RETRANSMITS = 4;
const MIN_PROBES = 2;

/** The table and the clock; injected by tests only. */
export type PeerWatchParts = { readonly readTable: () => Promise<ReadonlyMap<string, TcpEntry>>; readonly lookMs: number };

type Watched = { bytesRead: number; silent: number; futile: number; attempts: number };

/**
 * Looks at all connections together, since the kernel's table has all of them, and only at those that are silent. TCP probes
 * (setKeepAlive) do the same where nothing is on its way. A peer that is stopped or reads nothing is never given up: its kernel answers.
 */
export class PeerWatch {
  readonly #parts: PeerWatchParts;
  readonly #watched = new Map<Socket, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #looking = false;

  constructor(parts: PeerWatchParts = { readTable: readTcpTable, lookMs: LOOK_MS }) {
    this.#parts = parts;
  }

  /** Watches a connection until it closes; one whose peer has vanished is destroyed with the error `ETIMEDOUT`. */
  add(socket: Socket): void {
    if (socket.destroyed) return;
    this.#watched.set(socket, { bytesRead: socket.bytesRead, silent: 0, futile: 0, attempts: 0 });
    socket.once('close', () => this.#remove(socket));
    this.#timer ??= setInterval(() => void this.#look(), this.#parts.lookMs).unref();
  }

  #remove(socket: Socket): void {
    this.#watched.delete(socket);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const silent = [...this.#watched].filter(([socket, watched]) => isSilent(socket, watched));
      if (silent.length === 0) return;
      const table = await this.#parts.readTable().catch(() => undefined);
      if (table === undefined) return;
      for (const [socket, watched] of silent) {
        const key = tcpKey(socket);
        if (key === undefined || !isVanished(watched, table.get(key))) continue;
        socket.destroy(Object.assign(new Error('the peer does not answer any more'), { code: 'ETIMEDOUT' }));
      }
    } finally {
      this.#looking = false;
    }
  }
}

/** All connections of this process. */
export const peerWatch = new PeerWatch();

function isSilent(socket: Socket, watched: Watched): boolean {
  if (socket.bytesRead !== watched.bytesRead) {
    Object.assign(watched, { bytesRead: socket.bytesRead, silent: 0, futile: 0, attempts: 0 });
    return false;
  }
  watched.silent += 1;
  return watched.silent >= SILENT_LOOKS;
}

/** Both counters fall to 0 with every answer, so that attempts that have not become fewer are attempts of one and the same silence. */
function isVanished(watched: Watched, entry: TcpEntry | undefined): boolean {
  const attempts = entry === undefined || entry.unsent === 0 ? 0 : Math.max(entry.retransmits, entry.probes);
  watched.futile = attempts === 0 || attempts < watched.attempts ? Math.min(attempts, 1) : watched.futile + 1;
  watched.attempts = attempts;
  if (entry === undefined || watched.futile < FUTILE_LOOKS) return false;
  return entry.retransmits >= MIN_RETRANSMITS || entry.probes >= MIN_PROBES;
}
