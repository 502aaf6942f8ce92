/** Brings the input of several sessions to one container's stdin in the order in which it came, as fast as the container takes it. */
import { copied } from '../util/own-memory.ts';
import type { ShimIo } from './shim.ts';

/** One session's way to stdin. */
export type StdinWriter = {
  /**
   * Takes a chunk, always; false: the container is behind, send no more until `ready` is called. The chunk's memory may be used again once
   * the event loop goes on.
   */
  write(chunk: Uint8Array): boolean;
  /** Closes the container's stdin for good, after what this writer wrote before. */
  closeStdin(): void;
  /** Nothing that this writer wrote waits here any longer. */
  readonly flushed: boolean;
  /** The session goes. What it wrote before still arrives: its client was told that it had been taken. */
  end(): void;
};

type Entry = { readonly owner: Writer; rest: Uint8Array | 'close'; waits: boolean };

/**
 * A first-in first-out queue in front of the way to the container. It needs no limit of its own: each writer stops after the chunk that made
 * `write` return false, and a transport's input buffer bounds that chunk.
 */
export class StdinArbiter {
  readonly #io: ShimIo;
  readonly #queue: Entry[] = [];
  #closed: boolean;

  constructor(io: ShimIo) {
    this.#io = io;
    this.#closed = !io.stdinOpen;
  }

  /** False: the container has no stdin, or it has been closed; input is discarded. */
  get open(): boolean {
    return !this.#closed;
  }

  writer(ready: () => void): StdinWriter {
    return new Writer(this, ready);
  }

  /** There is room again. */
  credit(): void {
    this.#pump();
  }

  /** Stdin is closed; nobody waits any longer. */
  closed(): void {
    this.#closed = true;
    this.#pump();
  }

  push(owner: Writer, rest: Uint8Array | 'close'): void {
    if (this.#closed || rest.length === 0) return;
    const entry: Entry = { owner, rest, waits: true };
    this.#queue.push(entry);
    owner.waiting += 1;
    this.#pump();
    if (entry.waits && entry.rest !== 'close') entry.rest = copied(entry.rest);
  }

  #pump(): void {
    for (let entry = this.#queue[0]; entry !== undefined; entry = this.#queue[0]) {
      if (!this.#closed && !this.#send(entry)) return;
      this.#queue.shift();
      entry.waits = false;
      entry.owner.sent();
    }
  }

  #send(entry: Entry): boolean {
    if (entry.rest === 'close') {
      this.#io.closeStdin();
      this.#closed = true;
      return true;
    }
    const credit = this.#io.stdinCredit;
    if (credit <= 0) return false;
    this.#io.stdin(entry.rest.subarray(0, credit));
    if (entry.rest.length <= credit) return true;
    entry.rest = entry.rest.subarray(credit);
    return false;
  }
}

class Writer implements StdinWriter {
  waiting = 0;
  readonly #arbiter: StdinArbiter;
  readonly #ready: () => void;
  #ended = false;
  #told = false;

  constructor(arbiter: StdinArbiter, ready: () => void) {
    this.#arbiter = arbiter;
    this.#ready = ready;
  }

  get flushed(): boolean {
    return this.waiting === 0;
  }

  write(chunk: Uint8Array): boolean {
    this.#arbiter.push(this, chunk);
    this.#told = this.waiting > 0;
    return !this.#told;
  }

  closeStdin(): void {
    this.#arbiter.push(this, 'close');
  }

  end(): void {
    this.#ended = true;
  }

  /** One entry of this writer has left the queue. */
  sent(): void {
    this.waiting -= 1;
    if (this.waiting > 0 || !this.#told || this.#ended) return;
    this.#told = false;
    this.#ready();
  }
}
