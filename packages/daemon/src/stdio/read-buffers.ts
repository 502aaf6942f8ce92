/**
 * Memory for what is read from a shim. Node would take 64 KiB for each read and leave them to the garbage collector, which at full speed
 * costs as much processor time as passing the output on; so large reads go into slabs that are used again.
 */
import { FreeSlabs, type Holds, RoundSlabs } from './slabs.ts';

/** What a quiet connection needs, for control frames, keystrokes, lines. What such a read brings gets memory of its own size. */
const SMALL_BYTES = 4 * 1024;
/** Room for several of the shim's largest frames. An attached container that was loud once keeps one. */
const SLAB_BYTES = 256 * 1024;
/** A read with less room cuts frames to pieces: the rest of a slab is left empty, at most this much of it. */
const LEAST_ROOM_BYTES = 64 * 1024;
/** Slabs of one connection whose output somebody may still look at: what the live buffer holds by default, and some. Further ones are left to the garbage collector. */
const MAX_WAITING = 20;
/** Slabs that no connection uses: 2 MiB for the whole daemon. */
const MAX_FREE = 8;

const free = new FreeSlabs(SLAB_BYTES, MAX_FREE);

/** One connection's. For each read: `space`, then `filled`, `output` for each piece of output in it, then `passed`. */
export class ReadBuffers {
  readonly #slabs: RoundSlabs;
  readonly #small = Buffer.allocUnsafeSlow(SMALL_BYTES);
  /** The slab that is being filled; absent while the connection is quiet. */
  #slab: Buffer | undefined;
  #used = 0;
  #reads = 0;
  /** The output that the slab has: its lowest offset, and that behind its highest. A replay may have lower ones behind higher ones. */
  #from = 0;
  #to = 0;

  constructor(holds: Holds) {
    this.#slabs = new RoundSlabs(free, holds, MAX_WAITING);
  }

  /** Where the next read is to go. Whoever reads asks once, and may hold it through a rest: it comes back with `filled`. */
  get space(): Buffer {
    return this.#slab === undefined ? this.#small : this.#slab.subarray(this.#used);
  }

  /**
   * What a read has brought; it stays as it is while somebody may look at it.
   * @param memory where it went: a `space` of before, which is not today's when the connection was told to rest or to forget since
   * @param bytes of it, from its beginning
   */
  filled(memory: Uint8Array, bytes: number): Buffer {
    this.#reads += 1;
    if (memory.buffer === this.#small.buffer) {
      const own = Buffer.allocUnsafeSlow(bytes);
      own.set(memory.subarray(0, bytes));
      return own;
    }
    // A slab that is not in use any more is nobody else's either.
    if (this.#slab?.buffer === memory.buffer) this.#used += bytes;
    return Buffer.from(memory.buffer, memory.byteOffset, bytes);
  }

  /** The read has brought output from one offset up to another. */
  output(from: number, to: number): void {
    this.#from = Math.min(this.#from, from);
    this.#to = Math.max(this.#to, to);
  }

  /**
   * The read has been passed on.
   * @param bytes what it brought
   */
  passed(bytes: number): void {
    if (this.#slab === undefined) {
      if (bytes === SMALL_BYTES) this.#next();
    } else if (this.#slab.length - this.#used < LEAST_ROOM_BYTES) {
      this.#slabs.full(this.#slab, this.#from, this.#to);
      if (this.#used < this.#reads * SMALL_BYTES) this.rest();
      else this.#next();
    }
  }

  /** Nothing large is to come: slabs go to whoever needs them. */
  rest(): void {
    this.#slab = undefined;
    this.#slabs.rest();
  }

  /** Somebody keeps output and will not say until when: what has been read stays for ever. */
  forget(): void {
    this.#slab = undefined;
    this.#slabs.forget();
  }

  #next(): void {
    this.#used = 0;
    this.#reads = 0;
    this.#from = Number.POSITIVE_INFINITY;
    this.#to = 0;
    this.#slab = this.#slabs.take();
  }
}
