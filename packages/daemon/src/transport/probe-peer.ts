// Lets the kernel find out that a silent peer is gone.

import type { Socket } from 'node:net';

/**
 * Silence after which the kernel probes the peer (then ten probes, a second apart): under the 30 to 60 s after which nobody would believe
 * that a connection lives. A peer that is stopped (Ctrl-Z) is not gone: its kernel answers.
 */
const DELAY_MS = 25_000;

export function probePeer(socket: Socket): void {
  socket.setKeepAlive(true, DELAY_MS);
}
