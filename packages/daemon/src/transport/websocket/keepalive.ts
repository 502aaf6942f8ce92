// Keeps a connection from looking dead: pings while it is read, unsolicited pongs while it is not.

import type { Socket } from 'node:net';
import { PeerEnd } from '../peer-end.ts';
import { probePeer } from '../probe-peer.ts';
import { UnreadPeer } from '../unread-peer.ts';
import { PING_INTERVAL_MS, UNREAD_PONG_INTERVAL_MS } from './constants.ts';
import type { MessageSender } from './message-sender.ts';

/** Intervals; injected by tests only. */
export type KeepaliveTimes = { readonly pingMs: number; readonly unreadPongMs: number };

export const KEEPALIVE_TIMES: KeepaliveTimes = { pingMs: PING_INTERVAL_MS, unreadPongMs: UNREAD_PONG_INTERVAL_MS };

/**
 * Three clocks. Pings, or pongs, keep middle boxes from cutting a silent connection; of pings at most one is unanswered, so that they never
 * pile up in front of a stopped client. TCP probes (silence) and the peer watch (something is on its way, if only a ping) find a peer whose
 * machine is gone; a missing pong ends nothing (see probe-peer.ts). Pongs nobody asked for go out while the socket is not read, as the pings
 * in it cannot be answered; to a peer whose FIN is there, unread, none (see unread-peer.ts).
 */
export class Keepalive {
  readonly #sender: MessageSender;
  readonly #sign: 'ping' | 'pong';
  readonly #pings: NodeJS.Timeout;
  readonly #end: PeerEnd;
  readonly #unread: UnreadPeer;
  #unanswered = false;

  /**
   * @param sign what goes out on a silent connection: a pong to a client that must not be made to answer (see beats.ts)
   * @param left is called when a peer that has ended has waited for `lostInputMs` to be read to its end
   */
  constructor(
    socket: Socket,
    { sender, sign }: { readonly sender: MessageSender; readonly sign: 'ping' | 'pong' },
    times: KeepaliveTimes,
    lostInputMs: number,
    left: () => void,
  ) {
    this.#sender = sender;
    this.#sign = sign;
    this.#end = new PeerEnd(socket);
    this.#unread = new UnreadPeer(
      { signMs: times.unreadPongMs, lostInputMs },
      { look: () => this.#end.look(), sign: () => this.#pong(), gone: left },
    );
    probePeer(socket);
    this.#pings = setInterval(() => this.#ping(), times.pingMs).unref();
  }

  /** Something came from the peer. */
  heard(): void {
    this.#unanswered = false;
  }

  /** The peer is known to have sent its FIN: it takes nothing any more. */
  get peerEnded(): boolean {
    return this.#end.ended;
  }

  /** The socket is not read any more. */
  unread(): void {
    this.#unread.watch();
  }

  /** The socket is read again. */
  read(): void {
    this.#unread.rest();
  }

  stop(): void {
    clearInterval(this.#pings);
    this.read();
  }

  #ping(): void {
    if (this.#unanswered || this.#unread.watching) return;
    this.#unanswered = this.#sign === 'ping';
    // Where output waits the connection is not silent.
    if (this.#sender.idle) this.#sender[this.#sign]();
  }

  #pong(): void {
    if (!this.#sender.full) this.#sender.pong();
  }
}
