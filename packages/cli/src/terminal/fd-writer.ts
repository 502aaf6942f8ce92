// Writes a session's output to a descriptor without stopping the process while its reader is slow.
import { writev } from 'node:fs';
import { Writable } from 'node:stream';

/** A pipe that somebody else has made non-blocking says EAGAIN when full; nothing tells when it no longer is. */
const RETRY_MS = 5;
/** What comes while a write is under way goes out together in the next one: a switch to a thread and back costs more than 64 KiB do. */
const BATCH_BYTES = 512 * 1024;

type Done = (error?: Error | null) => void;

/**
 * `process.stdout` on a pipe or terminal blocks the whole process when the reader stops (`| less`, Ctrl-S), and with it the answers
 * to the server's pings, resizes and signals. This one blocks a thread of the pool.
 */
export class FdWriter extends Writable {
  /** Why the descriptor took no more. A stream that ends because its source has failed leaves it undefined. */
  failure: NodeJS.ErrnoException | undefined;
  readonly #fd: number;

  constructor(fd: number) {
    super({ highWaterMark: BATCH_BYTES });
    this.#fd = fd;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Done): void {
    this.#writeAll([chunk], callback);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], callback: Done): void {
    this.#writeAll(
      chunks.map(({ chunk }) => chunk),
      callback,
    );
  }

  #writeAll(buffers: readonly Buffer[], callback: Done): void {
    writev(this.#fd, buffers, null, (error, written) => {
      if (error?.code === 'EAGAIN') setTimeout(() => this.#writeAll(buffers, callback), RETRY_MS);
      else if (error !== null) {
        this.failure = error;
        callback(error);
      } else {
        const rest = without(buffers, written);
        if (rest.length === 0) callback();
        else this.#writeAll(rest, callback);
      }
    });
  }
}

/** What is left of these buffers without their first bytes. */
export function without(buffers: readonly Buffer[], bytes: number): Buffer[] {
  let skip = bytes;
  return buffers.flatMap((buffer) => {
    const taken = Math.min(skip, buffer.length);
    skip -= taken;
    return taken === buffer.length ? [] : [buffer.subarray(taken)];
  });
}
