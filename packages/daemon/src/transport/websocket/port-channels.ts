// Reads the messages of a port-forward WebSocket: which channel, and the bytes for its port.

import type { Buffer } from 'node:buffer';
import { decodeBase64Fast } from './base64-text.ts';
import type { PortChannel } from './port-channel.ts';
import { WholeMessage } from './whole-message.ts';

const DIGIT_ZERO = 48;

/** One per connection. Binary input is handed on as it arrives; base64 is decoded by whole messages, since a bad one is dropped whole. */
export class PortChannels {
  readonly #ports: readonly PortChannel[];
  readonly #base64: boolean;
  /** Undefined between a message's start and its first byte. */
  #atStart = true;
  /** Whose message this is; undefined when it is nobody's: an error channel, one that there is not. Dropped without a word, as Kubernetes does. */
  #current: PortChannel | undefined;
  readonly #kept = new WholeMessage();
  /** Channels that have got something in this read. */
  readonly #touched = new Set<PortChannel>();

  constructor(ports: readonly PortChannel[], encoding: 'binary' | 'base64') {
    this.#ports = ports;
    this.#base64 = encoding === 'base64';
  }

  messageStart(): void {
    this.#atStart = true;
    this.#current = undefined;
    this.#kept.clear();
  }

  /** `piece` is not empty. Only a message's very first byte is the channel, however many fragments it has. */
  messagePiece(piece: Buffer): void {
    let rest = piece;
    if (this.#atStart) {
      this.#atStart = false;
      const channel = (piece[0] as number) - (this.#base64 ? DIGIT_ZERO : 0);
      this.#current = channel % 2 === 0 ? this.#ports[channel / 2] : undefined;
      rest = piece.subarray(1);
    }
    if (rest.length === 0 || this.#current === undefined) return;
    if (this.#base64) this.#kept.append(rest);
    else this.#deliver(this.#current, rest);
  }

  messageEnd(): void {
    if (this.#current === undefined || this.#kept.length === 0) return;
    const decoded = decodeBase64Fast(this.#kept.take());
    if (decoded !== undefined && decoded.length > 0) this.#deliver(this.#current, decoded);
  }

  /** The end of a read: hands on what channels have gathered. Gives whether anything had come for any. */
  flush(): boolean {
    const any = this.#touched.size > 0;
    for (const port of this.#touched) port.flush();
    this.#touched.clear();
    return any;
  }

  #deliver(port: PortChannel, payload: Buffer): void {
    this.#touched.add(port);
    port.takeInput(payload);
  }
}
