/**
 * Memory that goes round (decision 0012): what is read into a slab is handed on as views of it, and the slab is used again once nobody can
 * look at them any more. Which of it that is, the offsets of the output say.
 */
import { Buffer } from 'node:buffer';

/** Slabs of one size that nobody uses, for the whole daemon. */
export class FreeSlabs {
  readonly #bytes: number;
  readonly #most: number;
  readonly #slabs: Buffer[] = [];

  /** @param most how many are kept; further ones are left to the garbage collector */
  constructor(bytes: number, most: number) {
    this.#bytes = bytes;
    this.#most = most;
  }

  /** One that was used before, or a new one. */
  take(): Buffer {
    return this.#slabs.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
  }

  /** Nobody looks into it any more. */
  give(slab: Buffer): void {
    if (this.#slabs.length < this.#most) this.#slabs.push(slab);
  }
}

/** Whether anybody may still look at the output from one offset up to another, in the memory that it was read to. */
export type Holds = (from: number, to: number) => boolean;

/** One reader's. */
export class RoundSlabs {
  readonly #free: FreeSlabs;
  readonly #holds: Holds;
  readonly #most: number;
  /** Full ones, oldest first, with the output that is in them. */
  #waiting: { readonly slab: Buffer; readonly from: number; readonly to: number }[] = [];

  /** @param most full slabs that are waited for; further ones, the oldest first, are left to the garbage collector */
  constructor(free: FreeSlabs, holds: Holds, most: number) {
    this.#free = free;
    this.#holds = holds;
    this.#most = most;
  }

  /** A slab that nobody looks into. */
  take(): Buffer {
    return this.#takeWaiting() ?? this.#free.take();
  }

  /** Nothing more is read to a slab that was taken: it has output from one offset up to another. */
  full(slab: Buffer, from: number, to: number): void {
    this.#waiting.push({ slab, from, to });
    if (this.#waiting.length > this.#most) this.#waiting.shift();
  }

  /** Nothing more is to be read for now: what nobody holds goes to whoever needs it. */
  rest(): void {
    for (let slab = this.#takeWaiting(); slab !== undefined; slab = this.#takeWaiting()) this.#free.give(slab);
    this.forget();
  }

  /** Somebody keeps output and will not say until when: full slabs stay as they are for ever. */
  forget(): void {
    this.#waiting = [];
  }

  /** Not only the oldest: who has stopped may hold a few for hours, while others are done with those behind. */
  #takeWaiting(): Buffer | undefined {
    const at = this.#waiting.findIndex(({ from, to }) => !this.#holds(from, to));
    return at === -1 ? undefined : this.#waiting.splice(at, 1)[0]?.slab;
  }
}
