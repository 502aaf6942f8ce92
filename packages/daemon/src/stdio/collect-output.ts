/** A program's whole output in memory, up to a limit: for ExecSync. What is beyond it is read and thrown away, so that the program ends. */
import { type ExitRecord, type ShimIo, ShimLost } from './shim.ts';

/** Output on its way from the shim. */
const WINDOW_BYTES = 1024 * 1024;

/** The slabs that output is copied into grow with it, from what a probe writes to what is no small part of the limit any more. */
const FIRST_SLAB_BYTES = 4 * 1024;
const LARGEST_SLAB_BYTES = 1024 * 1024;

/** What is needed of a shim. */
export type OutputSource = { readonly io: Pick<ShimIo, 'listen' | 'subscribe' | 'ack'> };

export type Collected = {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** Bytes that did not fit. */
  readonly dropped: number;
  readonly exit: ExitRecord;
};

/** One stream's output. Copied, since a program may write single bytes: a buffer for each would cost forty times the byte. */
class Gathered {
  readonly #slabs: Buffer[] = [];
  #bytes = 0;
  /** Of the newest slab. */
  #room = 0;

  add(data: Buffer): void {
    for (let at = 0; at < data.length; ) {
      const slab = this.#slab();
      const copied = data.copy(slab, slab.length - this.#room, at);
      this.#room -= copied;
      this.#bytes += copied;
      at += copied;
    }
  }

  whole(): Buffer {
    return Buffer.concat(this.#slabs, this.#bytes);
  }

  #slab(): Buffer {
    const newest = this.#slabs.at(-1);
    if (newest !== undefined && this.#room > 0) return newest;
    // As much again as there is.
    const slab = Buffer.allocUnsafeSlow(Math.min(Math.max(this.#bytes, FIRST_SLAB_BYTES), LARGEST_SLAB_BYTES));
    this.#slabs.push(slab);
    this.#room = slab.length;
    return slab;
  }
}

/**
 * Collects until the program has ended and its output is complete.
 * @param limit bytes of both streams together
 * @throws ShimLost when the supervisor goes without an exit, or after `shim.close()`
 */
export function collectOutput(shim: OutputSource, limit: number): Promise<Collected> {
  const { promise, resolve, reject } = Promise.withResolvers<Collected>();
  const gathered = { 1: new Gathered(), 2: new Gathered() };
  let room = limit;
  let dropped = 0;
  let taken = 0;
  let acked = 0;
  const ignore = (): void => undefined;
  shim.io.listen({
    output: (stream, offset, data) => {
      const kept = data.subarray(0, room);
      gathered[stream].add(kept);
      room -= kept.length;
      dropped += data.length - kept.length;
      taken = offset + data.length;
      if (taken - acked < WINDOW_BYTES / 4) return;
      acked = taken;
      shim.io.ack(taken);
    },
    // All has been copied.
    holds: () => false,
    gap: (from, to) => reject(new ShimLost(`output from ${from} to ${to} is lost`)),
    credit: ignore,
    stdinClosed: ignore,
    logLoss: ignore,
    exit: (exit) => resolve({ stdout: gathered[1].whole(), stderr: gathered[2].whole(), dropped, exit }),
    lost: reject,
  });
  shim.io.subscribe(0, WINDOW_BYTES);
  return promise;
}
