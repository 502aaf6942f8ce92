// Holds a client's input in order while the session takes none, and puts runs of small messages together.

import type { Buffer } from 'node:buffer';
import { copied } from '../util/own-memory.ts';
import { Fifo } from './fifo.ts';
import { PENDING_ENTRY_COST_BYTES } from './limits.ts';
import { SmallPieces } from './small-pieces.ts';

/** What the queue hands on, in the order in which it came. */
export type InputEvents = {
  /** The memory of what need not wait is the reader's until the event loop goes on, as in `TransportHandlers`. */
  stdin(chunk: Buffer): void;
  stdinEof(): void;
  closed(reason: string): void;
};

/**
 * stdin, then at most one EOF, then at most one `closed`. While paused they wait; `bytes` tells how much, so that the owner can stop
 * reading the socket. Handlers may pause and resume from within.
 */
export class InputQueue {
  readonly #events: InputEvents;
  readonly #waiting = new Fifo<Buffer>();
  readonly #small = new SmallPieces();
  #bytes = 0;
  #paused = false;
  #delivering = false;
  #eof = false;
  #closedReason: string | undefined;
  #done = false;
  readonly #patienceMs: number;
  #patience: NodeJS.Timeout | undefined;

  /** `patienceMs`: for how long input of a client that has gone may wait to be taken. */
  constructor(events: InputEvents, patienceMs: number) {
    this.#events = events;
    this.#patienceMs = patienceMs;
  }

  /** What waits, with the cost of holding it. */
  get bytes(): number {
    return this.#bytes;
  }

  push(piece: Buffer): void {
    if (this.#small.gather(piece)) return;
    this.flush();
    this.#enqueue(piece);
  }

  /** Hands on what has been gathered: called at the end of every read. */
  flush(): void {
    const chunk = this.#small.take();
    if (chunk !== undefined) this.#enqueue(chunk);
  }

  eof(): void {
    this.flush();
    this.#eof = true;
    this.#deliver();
  }

  /** The connection is gone: said after everything that came before it. A container that reads none of that does not hold the session for ever. */
  close(reason: string): void {
    this.flush();
    this.#closedReason ??= reason;
    this.#deliver();
    if (!this.#done) this.#patience ??= setTimeout(() => this.discard(), this.#patienceMs).unref();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  /** Nothing is handed on any more, `closed` neither. */
  stop(): void {
    this.#end();
    this.#forget();
  }

  /** Gives up what waits, so that `closed` can be said. */
  discard(): void {
    this.#forget();
    this.#eof = false;
    this.#deliver();
  }

  #enqueue(chunk: Buffer): void {
    if (this.#done) return;
    if (!this.#paused && !this.#delivering && this.#bytes === 0) {
      this.#events.stdin(chunk);
      return;
    }
    this.#waiting.push(copied(chunk));
    this.#bytes += chunk.length + PENDING_ENTRY_COST_BYTES;
    this.#deliver();
  }

  #deliver(): void {
    if (this.#delivering || this.#done) return;
    this.#delivering = true;
    while (!this.#paused && this.#waiting.length > 0) {
      const chunk = this.#waiting.shift() as Buffer;
      this.#bytes -= chunk.length + PENDING_ENTRY_COST_BYTES;
      this.#events.stdin(chunk);
    }
    this.#delivering = false;
    if (this.#bytes === 0) this.#deliverEnd();
  }

  /** EOF and the loss of the client need no room: they come even to a session that has paused, once nothing stands before them. */
  #deliverEnd(): void {
    if (this.#eof) {
      this.#eof = false;
      this.#events.stdinEof();
    }
    if (this.#closedReason === undefined || this.#done) return;
    this.#end();
    this.#events.closed(this.#closedReason);
  }

  /** The timer would keep the session for as long. */
  #end(): void {
    this.#done = true;
    clearTimeout(this.#patience);
  }

  #forget(): void {
    this.#waiting.clear();
    this.#bytes = 0;
    this.#small.clear();
  }
}
