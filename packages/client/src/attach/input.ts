// The input stream of a session: splits what is written into messages and waits while the socket is full.
import { Writable } from 'node:stream';

/** Sends one message; `sent` is called when the kernel has it. */
export type SendInput = (bytes: Uint8Array, sent: (error?: Error | null) => void) => void;

/** Where input goes. */
export type InputSink = {
  readonly send: SendInput;
  /** Bytes in user space that the kernel has not taken. */
  buffered(): number;
  /** Says that no more input comes. */
  close(sent: (error?: Error | null) => void): void;
};

/** Messages stay below the 32 KiB that Kubernetes' clients and servers size their buffers for. */
const MAX_MESSAGE_BYTES = 32 * 1024;
/** More than this in user space: wait until the kernel takes some. Keeps a pipeline busy without hoarding. */
const MAX_BUFFERED_BYTES = 512 * 1024;

/** A Writable whose `end()` is the end of the container's input, as far as the design lets a client say so. */
export class Input extends Writable {
  readonly #sink: InputSink;

  constructor(sink: InputSink) {
    super({ highWaterMark: 64 * 1024, decodeStrings: true });
    this.#sink = sink;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    let at = 0;
    const go = (): void => {
      while (at < chunk.length) {
        if (this.destroyed) return;
        const message = chunk.subarray(at, at + MAX_MESSAGE_BYTES);
        at += message.length;
        let mustWait = false;
        this.#sink.send(message, (error) => {
          if (error) callback(error);
          else if (mustWait) go();
        });
        mustWait = this.#sink.buffered() > MAX_BUFFERED_BYTES;
        if (mustWait) return;
      }
      callback();
    };
    go();
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#sink.close(callback);
  }
}
