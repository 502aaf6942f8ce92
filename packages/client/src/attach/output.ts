// One output stream of a session: what came and was not read yet, and how it ends.
import { Readable } from 'node:stream';

/**
 * A Readable that is filled from outside. It counts what waits so that the session can stop reading its socket, and it fails only
 * after everything that came before the failure has been read: the tail before a lost connection is as true as any other byte.
 */
export class Output extends Readable {
  readonly #queue: Uint8Array[] = [];
  readonly #taken: () => void;
  #bytes = 0;
  #wanted = false;
  #end: { readonly error: Error | undefined } | undefined;

  /** `taken` is called whenever bytes have left the queue. */
  constructor(taken: () => void) {
    // One byte: the queue is here, and a failure must find the stream's own buffer empty.
    super({ highWaterMark: 1 });
    this.#taken = taken;
  }

  /** Bytes that wait for the reader. */
  get waiting(): number {
    return this.#bytes;
  }

  /** Adds bytes; ignored after the end. */
  add(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#end !== undefined || this.destroyed) return;
    this.#queue.push(bytes);
    this.#bytes += bytes.length;
    this.#feed();
  }

  /** Ends the stream behind what waits: cleanly, or with an error. Only the first end counts. */
  finish(error?: Error): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#feed();
  }

  override _read(): void {
    this.#wanted = true;
    this.#feed();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#queue.length = 0;
    this.#bytes = 0;
    // Somebody who stops reading must not hold up the other stream.
    this.#taken();
    callback(error);
  }

  #feed(): void {
    if (!this.#wanted) return;
    const next = this.#queue.shift();
    if (next !== undefined) {
      this.#bytes -= next.length;
      this.#wanted = false;
      this.push(next);
      this.#taken();
      return;
    }
    if (this.#end === undefined) return;
    const { error } = this.#end;
    this.#wanted = false;
    if (error === undefined) this.push(null);
    // Not now: the read that asked for more is still handing out the last bytes.
    else setImmediate(() => this.destroy(error));
  }
}
