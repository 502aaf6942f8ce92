// Holds a session's output back until its client can take it.

import { MAX_SENT_PAYLOAD_BYTES, PENDING_ENTRY_COST_BYTES } from '../limits.ts';
import { OUTBOUND_HIGH_WATER, type OutputStream } from '../transport.ts';

type Held = { readonly stream: OutputStream; readonly chunk: Uint8Array };

/**
 * A Go client that is still opening streams reads no output: frames fill a queue of 50, and behind a full queue it does not see the answer
 * that it waits for. So output waits for its streams, or a few frames go.
 */
export class GatedOutput {
  readonly #send: (stream: OutputStream, chunk: Uint8Array) => void;
  #frames = 0;
  #held: Held[] = [];
  /** With the cost of holding it. */
  #bytes = 0;

  constructor(send: (stream: OutputStream, chunk: Uint8Array) => void) {
    this.#send = send;
  }

  /** As much is held as may be queued for a client. */
  get full(): boolean {
    return this.#bytes >= OUTBOUND_HIGH_WATER;
  }

  get empty(): boolean {
    return this.#held.length === 0;
  }

  /** Sends the chunk, or keeps it. */
  write(stream: OutputStream, chunk: Uint8Array): void {
    if (this.#held.length === 0 && this.#admit(chunk)) return this.#send(stream, chunk);
    this.#held.push({ stream, chunk });
    this.#bytes += chunk.length + PENDING_ENTRY_COST_BYTES;
  }

  /** Lets so many frames more go, those that are held first. */
  admit(frames: number): void {
    this.#frames += frames;
    let sent = 0;
    for (const { stream, chunk } of this.#held) {
      if (!this.#admit(chunk)) break;
      this.#send(stream, chunk);
      this.#bytes -= chunk.length + PENDING_ENTRY_COST_BYTES;
      sent += 1;
    }
    this.#held = this.#held.slice(sent);
  }

  /** Gives up what is held. */
  discard(): void {
    this.#held = [];
    this.#bytes = 0;
  }

  #admit(chunk: Uint8Array): boolean {
    const frames = Math.ceil(chunk.length / MAX_SENT_PAYLOAD_BYTES);
    if (frames > this.#frames) return false;
    this.#frames -= frames;
    return true;
  }
}
