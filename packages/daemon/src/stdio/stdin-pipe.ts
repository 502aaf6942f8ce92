/** The pipe that is a container's stdin, opened by the daemon itself: one hop less than through the shim. */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync, writevSync } from 'node:fs';
import { Socket } from 'node:net';
import { errnoOf } from '../util/errno.ts';
import { copied } from '../util/own-memory.ts';

/**
 * Bytes that wait here for a container that does not read. As much as Linux gives a pipe: more is slower, because what the pipe takes only
 * in part waits for another turn of the event loop, and would be more to hand back.
 */
export const PIPE_WINDOW_BYTES = 64 * 1024;
/** A container that takes nothing for so long, or up to twice as long (Node looks once in that time), is behind. */
const STUCK_MS = 1000;

/** Where a shim says that its end of the pipe is; the inode proves that it is that pipe, whatever has become of the process id. */
export type PipeOffer = { readonly pid: number; readonly descriptor: number; readonly inode: bigint };

export type PipeEvents = {
  /** There is room again. */
  room(): void;
  /** The container has taken nothing for a second or two while input waits. */
  stuck(): void;
  /** Nobody will read it any more. What waited is dropped. */
  broken(): void;
};

/**
 * Writes in order, without waiting; knows to the byte what the pipe has taken. The memory of a chunk is its giver's again once the event loop
 * goes on: what the pipe takes it takes before, and the rest is copied.
 */
export class StdinPipe {
  readonly #descriptor: number;
  readonly #socket: Socket;
  readonly #events: PipeEvents;
  /** Written in this turn; not copied. */
  #fresh: Uint8Array[] = [];
  /** What has been given to the kernel and is not all taken yet, and what waits behind it. */
  #going: Buffer | undefined;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #closed = false;

  private constructor(descriptor: number, events: PipeEvents) {
    this.#descriptor = descriptor;
    this.#events = events;
    this.#socket = new Socket({ fd: descriptor, readable: false, writable: true });
    this.#socket.setTimeout(STUCK_MS);
    // Again and again: also after a pause in which nothing waited.
    this.#socket.on('timeout', () => {
      if (this.#bytes > 0) events.stuck();
    });
    this.#socket.on('error', () => this.#broken());
  }

  /** Undefined where it cannot be opened, or is not the pipe that was offered: nobody reads it, the shim has gone, the daemon may not. */
  static open({ pid, descriptor, inode }: PipeOffer, events: PipeEvents): StdinPipe | undefined {
    const path = `/proc/${pid}/fd/${descriptor}`;
    const offered = (found: BigIntStats): boolean => found.ino === inode && found.isFIFO();
    let opened: number | undefined;
    try {
      // Looked at before, since opening something else may do something, and after, since the process may be another by then.
      if (!offered(statSync(path, { bigint: true }))) return undefined;
      // Never waits: a pipe without a reader fails at once (fifo(7)).
      opened = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      if (offered(fstatSync(opened, { bigint: true }))) return new StdinPipe(opened, events);
    } catch {
      // Said below.
    }
    if (opened !== undefined) closeSync(opened);
    return undefined;
  }

  /** Bytes that may be written now. */
  get room(): number {
    return PIPE_WINDOW_BYTES - this.#bytes;
  }

  /** Bytes that the pipe has not taken. */
  get queued(): number {
    return this.#bytes;
  }

  /** The caller keeps to `room`. */
  write(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    if (this.#going !== undefined) return void this.#waiting.push(copied(chunk));
    // One read from a client may bring several pieces of input: they leave in one write.
    if (this.#fresh.length === 0) process.nextTick(() => this.#flush());
    this.#fresh.push(chunk);
  }

  /** Closes the daemon's end; the shim has its own. False: it was closed. */
  close(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    this.#socket.destroy();
    return true;
  }

  /** Closes, and gives what the pipe has not taken, in order; the memory is as that of `write`. */
  takeBack(): readonly Uint8Array[] {
    if (this.#closed || this.#socket.destroyed) return [];
    const going = this.#going ?? Buffer.alloc(0);
    const rest = [going.subarray(going.length - unwritten(this.#socket)), ...this.#waiting, ...this.#fresh];
    this.close();
    return rest.filter((chunk) => chunk.length > 0);
  }

  #flush(): void {
    if (this.#closed || this.#fresh.length === 0) return;
    const pieces = this.#fresh;
    this.#fresh = [];
    const taken = this.#take(pieces);
    if (taken === undefined) return this.#broken();
    // All that is written and not taken is in the pieces: nothing was going.
    if (taken < this.#bytes) this.#follow(behind(pieces, taken));
    this.#bytes -= taken;
    if (taken > 0) this.#events.room();
  }

  /** Bytes that the pipe has room for, now; undefined where nobody reads it. */
  #take(pieces: readonly Uint8Array[]): number | undefined {
    try {
      return writevSync(this.#descriptor, pieces);
    } catch (error) {
      return errnoOf(error) === 'EAGAIN' ? 0 : undefined;
    }
  }

  /** Goes as the pipe is read. */
  #follow(rest: Buffer): void {
    this.#going = rest;
    this.#socket.write(rest, (error) => {
      if (this.#closed || error) return;
      this.#bytes -= rest.length;
      this.#going = undefined;
      this.#fresh = this.#waiting;
      this.#waiting = [];
      this.#flush();
      this.#events.room();
    });
  }

  #broken(): void {
    if (this.close()) this.#events.broken();
  }
}

/** A copy of what comes after so many bytes. */
function behind(pieces: readonly Uint8Array[], taken: number): Buffer {
  let skip = taken;
  const left = pieces.flatMap((piece) => {
    const rest = piece.subarray(Math.min(skip, piece.length));
    skip -= piece.length - rest.length;
    return rest.length > 0 ? [rest] : [];
  });
  return left.length === 1 ? copied(left[0] as Uint8Array) : Buffer.concat(left);
}

/**
 * Bytes of the write under way that the kernel has not taken. Node counts them for its own time-outs and offers no public way to them; what is
 * not in the pipe has to go through the shim instead, exactly once.
 */
function unwritten(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly writeQueueSize?: number } | null };
  const size = handle?.writeQueueSize;
  if (size === undefined) throw new Error('this Node does not tell how much of a write is left');
  return size;
}
