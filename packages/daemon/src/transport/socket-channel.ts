// A connection as a byte channel: what every stream of Node's that is a socket can do.

import type { Socket } from 'node:net';
import type { ByteChannel, ByteChannelEvents, FirstEnd } from './byte-channel.ts';
import type { ClientReads } from './client-reads.ts';
import { destroyWithoutProgress, LINGER_TIMES, type LingerTimes, linger, lingerForPeer } from './linger.ts';
import { PeerEnd, type PeerState } from './peer-end.ts';
import { probePeer } from './probe-peer.ts';
import { SocketWriter } from './socket-writer.ts';
import { tcpKey } from './tcp-table.ts';
import { unsentBytes } from './unsent-bytes.ts';

export class SocketChannel implements ByteChannel {
  readonly #reads: ClientReads;
  readonly #socket: Socket;
  readonly #writer: SocketWriter;
  readonly #times: LingerTimes;
  readonly #end: PeerEnd;
  #events: ByteChannelEvents | undefined;
  #reason = 'connection lost';
  #ending = false;

  constructor(reads: ClientReads, times: LingerTimes = LINGER_TIMES) {
    const { socket } = reads;
    this.#reads = reads;
    this.#socket = socket;
    this.#writer = new SocketWriter(socket);
    this.#times = times;
    this.#end = new PeerEnd(socket);
    socket.setNoDelay(true);
    probePeer(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#reason = `connection lost: ${error.code ?? error.message}`;
    });
    socket.once('close', () => this.#events?.closed(this.#reason));
  }

  get queued(): number {
    return this.#writer.queued;
  }

  unsent(): Promise<number> {
    return unsentBytes(tcpKey(this.#socket));
  }

  start(events: ByteChannelEvents): void {
    this.#events = events;
    // Lost before it was wanted: said as any other loss, and not from within this call.
    if (this.#socket.destroyed) return queueMicrotask(() => events.closed(this.#reason));
    this.#socket.on('drain', () => events.drain());
    this.#reads.start((chunk) => events.data(chunk));
    this.#socket.once('end', () => events.ended('client went away'));
  }

  write(parts: readonly Uint8Array[]): void {
    if (!this.#end.ended) this.#writer.write(parts);
  }

  pause(): void {
    if (!this.#ending) this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  peerState(): Promise<PeerState> {
    return this.#end.look();
  }

  giveUpWhenStuck(): void {
    destroyWithoutProgress(this.#socket, this.#times);
  }

  end(first: FirstEnd = 'ours'): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#writer.flush();
    // Nothing that a channel carries makes its peer say how far it has read.
    if (first === 'theirs') lingerForPeer(this.#socket, { hasRead: () => false, maySayNothing: false }, this.#times);
    else linger(this.#socket, this.#times);
    this.#socket.resume();
  }

  destroy(): void {
    this.#ending = true;
    this.#socket.destroy();
  }
}
