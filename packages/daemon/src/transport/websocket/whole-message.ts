// A message that must be whole to be understood, put together from pieces as they come.

import { Buffer } from 'node:buffer';

const EMPTY = Buffer.alloc(0);

/**
 * Copies every piece into one buffer that grows: a million fragments of one byte take some million bytes, and none of them keeps the read
 * that it came with. How long a message may be is the frame parser's to say.
 */
export class WholeMessage {
  #bytes: Buffer = EMPTY;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#bytes.length));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    piece.copy(this.#bytes, this.#length);
    this.#length = length;
  }

  /** What has come; nothing is kept of it. */
  take(): Buffer {
    const whole = this.#bytes.subarray(0, this.#length);
    this.clear();
    return whole;
  }

  clear(): void {
    this.#bytes = EMPTY;
    this.#length = 0;
  }
}
