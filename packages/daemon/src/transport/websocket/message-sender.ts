// Sends messages and control frames of one connection: a small head of its own, then the shared chunk as it is.

import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type { Subprotocol } from '@berth/attach-protocol';
import { SocketWriter } from '../socket-writer.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { closeFrame, frameHead, wholeFrame } from './frame-header.ts';
import { MAX_SENT_PAYLOAD_BYTES } from '../limits.ts';
import { OPCODE } from './constants.ts';

const EMPTY = Buffer.alloc(0);
/** Channel bytes, made once for all connections: attach has four, port-forward two for each port. */
const CHANNEL_BYTES = Array.from({ length: 256 }, (_, channel) => Buffer.of(channel));
const DIGIT_ZERO = 48;

/** One per connection. Sends nothing once the socket has been ended. */
export class MessageSender {
  readonly #writer: SocketWriter;
  readonly #encoding: Subprotocol['encoding'];
  /** A ping that came while too much was queued; only the newest is answered (RFC 6455, 5.5.3). */
  #latePing: Uint8Array | undefined;

  constructor(socket: Socket, { encoding }: Pick<Subprotocol, 'encoding'>) {
    this.#writer = new SocketWriter(socket);
    this.#encoding = encoding;
    socket.on('drain', () => this.#answerLate());
  }

  /** As much waits in user space as may stand in front of a pong. */
  get full(): boolean {
    return this.#writer.queued >= OUTBOUND_HIGH_WATER;
  }

  get idle(): boolean {
    return this.#writer.queued === 0;
  }

  /** One message, or several where the payload is longer than one may be. An empty payload gives the channel alone. */
  message(channel: number, payload: Uint8Array): void {
    let at = 0;
    do {
      const part = payload.length <= MAX_SENT_PAYLOAD_BYTES ? payload : payload.subarray(at, at + MAX_SENT_PAYLOAD_BYTES);
      if (this.#encoding === 'binary') this.#binary(channel, part);
      else this.#frame(wholeFrame(OPCODE.text, Buffer.from(String.fromCharCode(DIGIT_ZERO + channel) + asBase64(part), 'latin1')));
      at += part.length;
    } while (at < payload.length);
  }

  ping(payload: Uint8Array = EMPTY): void {
    this.#frame(wholeFrame(OPCODE.ping, payload));
  }

  pong(payload: Uint8Array = EMPTY): void {
    this.#frame(wholeFrame(OPCODE.pong, payload));
  }

  /** Answers a ping: at once, or once what is queued has gone where that is too much. */
  answer(payload: Uint8Array): void {
    if (this.full) this.#latePing = payload;
    else this.pong(payload);
  }

  /**
   * The last frame; a ping that waits for its answer gets none. Without a code the payload is empty, which only ever answers a close frame
   * that had none.
   */
  close(code: number | undefined, reason?: string): void {
    this.#latePing = undefined;
    this.#frame(code === undefined ? wholeFrame(OPCODE.close, EMPTY) : closeFrame(code, reason));
  }

  /** Hands on what waits to be sent with others: to be called before the socket is ended. */
  flush(): void {
    this.#writer.flush();
  }

  #binary(channel: number, payload: Uint8Array): void {
    const head = frameHead(OPCODE.binary, payload.length + 1, CHANNEL_BYTES[channel]);
    this.#writer.write(payload.length === 0 ? [head] : [head, payload]);
  }

  #answerLate(): void {
    if (this.#latePing !== undefined) this.pong(this.#latePing);
    this.#latePing = undefined;
  }

  #frame(frame: Buffer): void {
    this.#writer.write([frame]);
  }
}

function asBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
