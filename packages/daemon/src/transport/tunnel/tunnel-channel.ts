// A WebSocket as a channel of bytes: the payloads of its binary messages, put together, are the stream; their borders mean nothing.

import type { Buffer } from 'node:buffer';
import type { PeerState } from '../peer-end.ts';
import type { ByteChannel, ByteChannelEvents, FirstEnd } from '../byte-channel.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { CLOSE_CODE, OPCODE } from '../websocket/constants.ts';
import { closeFrame, frameHead, wholeFrame } from '../websocket/frame-header.ts';
import { FrameParser } from '../websocket/frame-parser.ts';

/** Sends one message for what is written at once, and nothing on its own: Go's client takes a message of no bytes, but others need not. */
export class TunnelChannel implements ByteChannel {
  readonly #inner: ByteChannel;
  #events: ByteChannelEvents | undefined;
  #ended = false;
  /** A ping that came while too much was queued; only the newest is answered (RFC 6455, 5.5.3). */
  #latePing: Buffer | undefined;

  constructor(inner: ByteChannel) {
    this.#inner = inner;
  }

  get queued(): number {
    return this.#inner.queued;
  }

  unsent(): Promise<number> {
    return this.#inner.unsent();
  }

  start(events: ByteChannelEvents): void {
    this.#events = events;
    const parser = new FrameParser({
      messageStart: () => undefined,
      messagePiece: (piece) => events.data(piece),
      messageEnd: () => undefined,
      ping: (payload) => this.#ping(payload),
      pong: () => undefined,
      close: (code) => this.#peerClosed(code ?? CLOSE_CODE.normal, `client closed with ${code ?? 'no code'}`),
      failed: (code, reason) => this.#peerClosed(code, `client broke the protocol: ${reason}`),
    });
    this.#inner.start({
      data: (chunk) => parser.push(chunk),
      drain: () => this.#drained(),
      ended: (reason) => events.ended(reason),
      closed: (reason) => events.closed(reason),
    });
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.#ended) return;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#inner.write([frameHead(OPCODE.binary, length, undefined), ...parts]);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  peerState(): Promise<PeerState> {
    return this.#inner.peerState();
  }

  giveUpWhenStuck(): void {
    this.#inner.giveUpWhenStuck();
  }

  end(first?: FirstEnd): void {
    this.#close(CLOSE_CODE.normal);
    this.#inner.end(first);
  }

  destroy(): void {
    this.#close(CLOSE_CODE.goingAway);
    this.#inner.destroy();
  }

  /** The close frame is the answer to the peer's, or says what was wrong; the owner then ends the channel. */
  #peerClosed(code: number, reason: string): void {
    this.#close(code);
    this.#events?.ended(reason);
  }

  #close(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#inner.write([closeFrame(code, undefined)]);
  }

  #ping(payload: Buffer): void {
    if (this.#ended) return;
    if (this.queued >= OUTBOUND_HIGH_WATER) this.#latePing = payload;
    else this.#inner.write([wholeFrame(OPCODE.pong, payload)]);
  }

  #drained(): void {
    if (this.#latePing !== undefined && !this.#ended) this.#inner.write([wholeFrame(OPCODE.pong, this.#latePing)]);
    this.#latePing = undefined;
    this.#events?.drain();
  }
}
