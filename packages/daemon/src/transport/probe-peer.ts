// Finds out that a peer is gone, for every transport: the kernel's probes where nothing is on its way, and the watch where something is.

import type { Socket } from 'node:net';
import { peerWatch } from './peer-watch.ts';

/**
 * Silence after which the kernel probes the peer. This, not a missing pong, finds dead peers: a stopped client (Ctrl-Z, a sleeping pager)
 * answers no ping, but its kernel answers probes, and it must miss nothing.
 */
const DELAY_MS = 20_000;
/** Between probes, and how many go unanswered before the peer is gone: 50 s in all, and a network may be away for half a minute of them. */
const PROBE_MS = 10_000;
const PROBES = 3;

export function probePeer(socket: Socket): void {
  socket.setKeepAlive(true, DELAY_MS, PROBE_MS, PROBES);
  peerWatch.add(socket);
}
