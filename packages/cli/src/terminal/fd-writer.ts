// Writes a session's output to a descriptor without stopping the process while its reader is slow.
import { write } from 'node:fs';
import { Writable } from 'node:stream';

/** A pipe that somebody else has made non-blocking says EAGAIN when full; nothing tells when it no longer is. */
const RETRY_MS = 5;

/**
 * `process.stdout` on a pipe or terminal blocks the whole process when the reader stops (`| less`, Ctrl-S), and with it the answers
 * to the server's pings, resizes and signals. This one blocks a thread of the pool.
 */
export class FdWriter extends Writable {
  readonly #fd: number;

  constructor(fd: number) {
    super({ highWaterMark: 64 * 1024 });
    this.#fd = fd;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    write(this.#fd, chunk, 0, chunk.length, null, (error, written) => {
      if (error?.code === 'EAGAIN') setTimeout(() => this._write(chunk, _encoding, callback), RETRY_MS);
      else if (error !== null) callback(error);
      else if (written < chunk.length) this._write(chunk.subarray(written), _encoding, callback);
      else callback();
    });
  }
}
