/** A byte channel without a wire: the test is the peer, and says how much is queued. */
import { Buffer } from 'node:buffer';
import type { PeerState } from '../transport/peer-end.ts';
import type { ByteChannel, ByteChannelEvents, FirstEnd } from '../transport/byte-channel.ts';

export class FakeChannel implements ByteChannel {
  #events: ByteChannelEvents | undefined;
  #sent: Buffer[] = [];
  /** Bytes that count as waiting; what is written adds to it while `holds`. */
  queued = 0;
  holds = false;
  paused = false;
  hurried = false;
  /** The peer's end waits behind what is not read. */
  hasUnreadEnd = false;
  isEnded = false;
  /** It was ended for a peer that closes by itself. */
  leavesEndToPeer = false;
  isDestroyed = false;
  /** Read in this turn of the event loop. */
  readonly #lent: Buffer[] = [];
  /** Reads come in memory of their own. */
  fresh = false;

  async unsent(): Promise<number> {
    return await Promise.resolve(this.queued);
  }

  start(events: ByteChannelEvents): void {
    this.#events = events;
  }

  get started(): boolean {
    return this.#events !== undefined;
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.isEnded || this.isDestroyed) return;
    const bytes = Buffer.concat(parts);
    this.#sent.push(bytes);
    if (this.holds) this.queued += bytes.length;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  async peerState(): Promise<PeerState> {
    return await Promise.resolve(this.hasUnreadEnd ? 'ended' : 'there');
  }

  giveUpWhenStuck(): void {
    this.hurried = true;
  }

  end(first: FirstEnd = 'ours'): void {
    this.leavesEndToPeer = first === 'theirs';
    this.isEnded = true;
    this.paused = false;
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    queueMicrotask(() => this.#events?.closed('destroyed'));
  }

  /** What was written since it was asked last. */
  take(): Buffer {
    const sent = Buffer.concat(this.#sent);
    this.#sent = [];
    return sent;
  }

  /** The peer sends bytes. Their memory is written over once the event loop goes on, unless reads are `fresh`. */
  receive(...parts: Uint8Array[]): void {
    const read = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
    read.set(Buffer.concat(parts));
    // In front of whatever the receiver puts off, also where it has put that off since another read of the same turn.
    if (!this.fresh && this.#lent.push(read) === 1) setImmediate(() => this.#lent.splice(0).forEach((each) => each.fill(0xff)));
    this.#events?.data(read);
  }

  /** The peer takes all that waits. */
  drain(): void {
    this.queued = 0;
    this.#events?.drain();
  }

  peerEnds(): void {
    this.#events?.ended('client went away');
  }

  close(reason = 'connection lost: ECONNRESET'): void {
    this.#events?.closed(reason);
  }
}
