// Signs of life between the output of a session whose client must not be pinged.

import type { Flow } from './pace.ts';

/** At 20 KB/s a pong every 7 s, in base64 every 9 s; client-go gives up 61 s after the last one. */
const BEAT_BYTES = 128 * 1024;
/** Head of a frame and channel, at most: output may be as short as a byte. */
const HEAD_BYTES = 11;

/**
 * Pongs that nobody asked for (RFC 6455, 5.5.3) instead of the marks of `Pace`: a client that sends input as fast as it can must not be
 * made to answer. When its input is not read for a while, its answer gets stuck; Go's library (gorilla/websocket) gives a pong one
 * second, and after that writes nothing any more for the rest of the connection: the rest of the input is lost. What stands in front of
 * our answer to a ping of the client's own is not bounded here, but each of these counts as an answer for Go's clients.
 */
export class Beats implements Flow {
  readonly closed = false;
  readonly answers = false;
  readonly #pong: () => void;
  #since = 0;

  constructor(pong: () => void) {
    this.#pong = pong;
  }

  sent(bytes: number): void {
    this.#since += bytes + HEAD_BYTES;
    if (this.#since < BEAT_BYTES) return;
    this.#since = 0;
    this.#pong();
  }

  pong(): void {}

  suspend(): void {}

  resume(): void {}
}
