// Turns a client's data messages into what they mean on the remotecommand channels: input, its end, sizes.

import type { Buffer } from 'node:buffer';
import { CHANNEL, LAST_DATA_CHANNEL, SizeDecoder, type Subprotocol, type WireSize } from '@berth/attach-protocol';
import { decodeBase64Fast } from './base64-text.ts';
import { WholeMessage } from './whole-message.ts';

/** What messages can mean. */
export type ChannelEvents = {
  /** Input; never empty. */
  stdin(piece: Buffer): void;
  /** CLOSE of the stdin channel; once, and no input comes after it. */
  stdinEof(): void;
  resize(size: WireSize): void;
  /** A CLOSE that is none: the connection must end. */
  malformed(reason: string): void;
};

const DIGIT_ZERO = 48;
/** Where a message's channel is not known yet: nothing of it has come. */
const UNKNOWN = -1;
/** What is not for us: unknown, not asked for, already closed, or only the server's to write. Dropped without a word, as Kubernetes does. */
const DROPPED = -2;
/** A CLOSE has one byte after its own; one more is kept to tell that there were too many. */
const CLOSE_BYTES_KEPT = 2;

/** One per connection. Binary input is handed on as it arrives; base64 is decoded by whole messages, since a bad one must be dropped whole. */
export class ChannelReader {
  readonly #protocol: Subprotocol;
  readonly #events: ChannelEvents;
  readonly #sizes = new SizeDecoder();
  #stdinOpen: boolean;
  #resizeOpen = true;
  #channel = UNKNOWN;
  /** The message so far, where it must be whole to be understood. */
  readonly #kept = new WholeMessage();

  /** `stdin`: whether this session asked for it; without, input and its end are dropped. */
  constructor(protocol: Subprotocol, stdin: boolean, events: ChannelEvents) {
    this.#protocol = protocol;
    this.#stdinOpen = stdin;
    this.#events = events;
  }

  messageStart(): void {
    this.#channel = UNKNOWN;
    this.#kept.clear();
  }

  /** `piece` is not empty. Only a message's very first byte is the channel, however many fragments it has. */
  messagePiece(piece: Buffer): void {
    let rest = piece;
    if (this.#channel === UNKNOWN) {
      this.#channel = this.#channelOf(piece[0] as number);
      rest = piece.subarray(1);
    }
    if (rest.length === 0 || this.#channel === DROPPED) return;
    if (this.#channel === CHANNEL.close) this.#kept.append(rest.subarray(0, CLOSE_BYTES_KEPT - this.#kept.length));
    else if (this.#protocol.encoding === 'base64') this.#kept.append(rest);
    else this.#deliver(rest);
  }

  messageEnd(): void {
    if (this.#channel === CHANNEL.close) this.#closeChannel(this.#kept.take());
    else if (this.#kept.length > 0) {
      const decoded = decodeBase64Fast(this.#kept.take());
      if (decoded !== undefined && decoded.length > 0) this.#deliver(decoded);
    }
  }

  #channelOf(first: number): number {
    const channel = this.#protocol.encoding === 'base64' ? first - DIGIT_ZERO : first;
    if (channel === CHANNEL.stdin && this.#stdinOpen) return channel;
    if (channel === CHANNEL.resize && this.#resizeOpen) return channel;
    if (channel === CHANNEL.close && this.#protocol.hasClose) return channel;
    return DROPPED;
  }

  #deliver(payload: Buffer): void {
    if (this.#channel === CHANNEL.stdin) this.#events.stdin(payload);
    else for (const size of this.#sizes.push(payload)) this.#events.resize(size);
  }

  #closeChannel(payload: Buffer): void {
    const channel = payload[0];
    if (payload.length !== 1 || channel === undefined || channel > LAST_DATA_CHANNEL) {
      this.#events.malformed('malformed CLOSE');
    } else if (channel === CHANNEL.resize) this.#resizeOpen = false;
    else if (channel === CHANNEL.stdin && this.#stdinOpen) {
      this.#stdinOpen = false;
      this.#events.stdinEof();
    }
  }
}
