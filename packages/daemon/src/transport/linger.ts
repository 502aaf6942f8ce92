// Ends a connection without losing what the peer has not read: half-close, then wait for as long as it takes bytes.

import type { Socket } from 'node:net';
import { LINGER_NO_PROGRESS_MS, LINGER_POLL_MS } from './limits.ts';
import { tcpKey } from './tcp-table.ts';
import { unsentBytes } from './unsent-bytes.ts';

/** Times of a linger; injected by tests only. */
export type LingerTimes = { readonly noProgressMs: number; readonly pollMs: number };

export const LINGER_TIMES: LingerTimes = { noProgressMs: LINGER_NO_PROGRESS_MS, pollMs: LINGER_POLL_MS };

/**
 * Sends FIN after what is queued and destroys the socket once the peer has taken no byte for `noProgressMs`. The caller keeps reading
 * and discarding: closing with unread input would make the kernel send RST, which throws away what the peer has not read yet. There is no limit
 * on the whole time: a slow reader that reads is served to the end. The peer's own close ends it earlier ('close' of the socket).
 */
export function linger(socket: Socket, times: LingerTimes = LINGER_TIMES): void {
  if (socket.destroyed) return;
  destroyWithoutProgress(socket, times);
  socket.end();
}

/** The same without FIN, for a connection that has more to write before its end. */
export function destroyWithoutProgress(socket: Socket, times: LingerTimes = LINGER_TIMES): void {
  if (socket.destroyed) return;
  const key = tcpKey(socket);
  let last = '';
  let since = performance.now();
  const look = async (): Promise<void> => {
    const unsent = await unsentBytes(key);
    const now = `${socket.writableLength}/${unsent}`;
    if (now !== last) {
      last = now;
      since = performance.now();
    } else if (performance.now() - since >= times.noProgressMs) socket.destroy();
  };
  const timer = setInterval(() => void look(), times.pollMs).unref();
  socket.once('close', () => clearInterval(timer));
}

/** For a peer that has said its last: nothing can turn our close into a reset any more, so that there is no need to wait for the peer's. */
export function destroyWhenWritten(socket: Socket): void {
  if (socket.writableFinished) socket.destroy();
  else socket.once('finish', () => socket.destroy());
}
