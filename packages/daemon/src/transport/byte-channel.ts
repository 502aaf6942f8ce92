import type { PeerState } from './peer-end.ts';

/**
 * The seam between SPDY and what carries its bytes: a TCP or TLS connection, or a WebSocket whose messages are a tunnel. A channel knows
 * how to queue, hold back and end; it knows no frames of what it carries.
 */
export interface ByteChannel {
  /** Begins to deliver events. Called once; nothing is read before. */
  start(events: ByteChannelEvents): void;
  /** Sends pieces that belong together; takes them as they are, never changes them. Ignored once the channel has been ended. */
  write(parts: readonly Uint8Array[]): void;
  /** Bytes that wait in this process. */
  readonly queued: number;
  /** Bytes that the peer's kernel has not acknowledged. */
  unsent(): Promise<number>;
  /** Stops and goes on reading. What has been read already still comes. */
  pause(): void;
  resume(): void;
  /** Whether the peer has ended though that has not been read; from then on nothing is written to it. */
  peerState(): Promise<PeerState>;
  /** From now on a peer that takes none of what is queued for the linger time is given up. */
  giveUpWhenStuck(): void;
  /** Ends behind what is queued, and reads and discards until the peer has closed or is given up: never a reset over unread output. */
  end(first?: FirstEnd): void;
  /** Ends at once. */
  destroy(): void;
}

/** Whose FIN comes first; `theirs` for a peer that closes by itself once it has read what says so. `ours` where nothing else is said. */
export type FirstEnd = 'ours' | 'theirs';

export type ByteChannelEvents = {
  /** The next bytes. Of shared reads (client-reads.ts) they are the taker's until the event loop goes on, of fresh ones for good. */
  data(chunk: Buffer): void;
  /** Nothing waits any more, after something did. */
  drain(): void;
  /** The peer will send nothing more; said once, and not after `closed`. */
  ended(reason: string): void;
  /** The channel is gone; the last event. */
  closed(reason: string): void;
};
