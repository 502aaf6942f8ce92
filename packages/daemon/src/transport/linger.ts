// Ends a connection without losing what the peer has not read: who closes first, and how long the other is waited for.

import type { Socket } from 'node:net';
import { LINGER_NO_PROGRESS_MS, LINGER_POLL_MS, PEER_END_MS, PEER_END_POLL_MS, PEER_SILENT_MS } from './limits.ts';
import { tcpKey } from './tcp-table.ts';
import { unsentBytes } from './unsent-bytes.ts';

/** Times of a linger; injected by tests only. */
export type LingerTimes = {
  readonly noProgressMs: number;
  readonly pollMs: number;
  readonly peerPollMs: number;
  readonly silentMs: number;
  readonly peerMs: number;
};

/** What is known of a peer that is to close by itself. */
export type LastReader = {
  /** It has said that it has read everything. */
  readonly hasRead: () => boolean;
  /** It need not be one that says anything as long as it is there. */
  readonly maySayNothing: boolean;
};

export const LINGER_TIMES: LingerTimes = {
  noProgressMs: LINGER_NO_PROGRESS_MS,
  pollMs: LINGER_POLL_MS,
  peerPollMs: PEER_END_POLL_MS,
  silentMs: PEER_SILENT_MS,
  peerMs: PEER_END_MS,
};

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
  watchProgress(socket, times);
}

/**
 * As `linger`, but the first FIN is the peer's: for one that knows from the data when all has been said, and closes once it has read
 * that. Kubernetes' proxies (apimachinery's UpgradeAwareHandler) close both of their connections as soon as either has ended; what their
 * client still sends then, if only a pong, is answered with a reset over what it has not read.
 *
 * Our FIN goes out for one that has taken everything and does not close by itself: `hasRead` says at two looks that nothing can be lost
 * by it; or nothing has come from it for `noProgressMs`, or `silentMs` where it `maySayNothing`; or it has had `peerMs`. Until then what
 * comes from it counts as progress: it is there and reads, and the rest is in the proxies' buffers.
 */
export function lingerForPeer(socket: Socket, peer: LastReader, times: LingerTimes = LINGER_TIMES): void {
  if (socket.destroyed) return;
  if (socket.readableEnded) return linger(socket, times);
  socket.once('end', () => socket.end());
  const silentMs = peer.maySayNothing ? times.silentMs : times.noProgressMs;
  let takenAt: number | undefined;
  let hasRead = false;
  watchProgress(socket, { ...times, pollMs: times.peerPollMs }, (stillMs) => {
    takenAt ??= performance.now();
    const hadRead = hasRead;
    hasRead = peer.hasRead();
    return (hadRead && hasRead) || stillMs >= silentMs || performance.now() - takenAt >= times.peerMs;
  });
}

/**
 * @param isTime asked at each look while our FIN is not sent and the peer's kernel has taken everything, with the time for which nothing
 *   has changed and nothing has come from the peer: whether that FIN is to go out
 */
function watchProgress(
  socket: Socket,
  times: Pick<LingerTimes, 'noProgressMs' | 'pollMs'>,
  isTime?: (stillMs: number) => boolean,
): void {
  if (socket.destroyed) return;
  const key = tcpKey(socket);
  let last = '';
  let since = performance.now();
  const look = async (): Promise<void> => {
    const unsent = await unsentBytes(key);
    const mayEnd = isTime !== undefined && !socket.writableEnded && socket.writableLength + unsent === 0;
    const now = `${socket.writableLength}/${unsent} ${mayEnd ? socket.bytesRead : ''}`;
    if (now !== last) {
      last = now;
      since = performance.now();
    }
    const stillMs = performance.now() - since;
    if (mayEnd && isTime(stillMs)) socket.end();
    else if (stillMs >= times.noProgressMs) socket.destroy();
  };
  const timer = setInterval(() => void look(), times.pollMs).unref();
  socket.once('close', () => clearInterval(timer));
}

/** For a peer that has said its last: nothing can turn our close into a reset any more, so that there is no need to wait for the peer's. */
export function destroyWhenWritten(socket: Socket): void {
  if (socket.writableFinished) socket.destroy();
  else socket.once('finish', () => socket.destroy());
}
