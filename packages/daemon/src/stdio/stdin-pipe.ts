/** The pipe that is a container's stdin, opened by the daemon itself: one hop less than through the shim. */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import { ownMemory } from '../util/own-memory.ts';

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

/** Writes in order, without waiting; knows to the byte what the pipe has taken. */
export class StdinPipe {
  readonly #socket: Socket;
  readonly #events: PipeEvents;
  /** What has been given to the kernel and is not all taken yet, and what waits behind it. */
  #going: readonly Uint8Array[] = [];
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #scheduled = false;
  #closed = false;

  private constructor(descriptor: number, events: PipeEvents) {
    this.#events = events;
    this.#socket = new Socket({ fd: descriptor, readable: false, writable: true });
    this.#socket.setTimeout(STUCK_MS);
    // Again and again: also after a pause in which nothing waited.
    this.#socket.on('timeout', () => {
      if (this.#bytes > 0) events.stuck();
    });
    this.#socket.on('error', () => {
      if (this.close()) events.broken();
    });
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

  /** The caller keeps to `room`, and leaves the memory alone. */
  write(chunk: Uint8Array): void {
    // Behind what the pipe has not taken it may wait long; otherwise it leaves within this turn, most often whole.
    this.#waiting.push(this.#going.length > 0 ? ownMemory(chunk) : chunk);
    this.#bytes += chunk.length;
    if (this.#scheduled || this.#going.length > 0) return;
    // One read from a client may bring several pieces of input: they leave in one write.
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  /** Closes the daemon's end; the shim has its own. False: it was closed. */
  close(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    this.#socket.destroy();
    return true;
  }

  /** Closes, and gives what the pipe has not taken, in order. */
  takeBack(): readonly Uint8Array[] {
    if (this.#closed || this.#socket.destroyed) return [];
    const going = Buffer.concat(this.#going);
    const rest = [going.subarray(going.length - unwritten(this.#socket)), ...this.#waiting];
    this.close();
    return rest.filter((chunk) => chunk.length > 0);
  }

  #flush(): void {
    if (this.#closed || this.#waiting.length === 0) return;
    const going = this.#waiting;
    this.#going = going;
    this.#waiting = [];
    const bytes = going.reduce((sum, chunk) => sum + chunk.length, 0);
    this.#socket.cork();
    going.forEach((chunk, i) => {
      this.#socket.write(chunk, i < going.length - 1 ? undefined : (error) => this.#taken(bytes, error));
    });
    this.#socket.uncork();
  }

  #taken(bytes: number, error: Error | null | undefined): void {
    if (this.#closed || error) return;
    this.#going = [];
    this.#bytes -= bytes;
    this.#flush();
    this.#events.room();
  }
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
