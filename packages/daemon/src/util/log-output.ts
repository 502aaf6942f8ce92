/**
 * Where the lines of the log go: never waiting for what reads them and never failing because of it. A collector that stalls, a pipe that
 * nobody reads, a full disk would otherwise hold up every call and every session, or end the daemon. Lines that do not fit are lost; how
 * many is said in the log as soon as it takes lines again, and by the metrics.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';

/** Lines that wait for their reader, bytes: a second or two of a busy daemon; who stalls for longer has stopped. */
export const MAX_WAITING_LOG_BYTES = 1024 * 1024;
/** What a daemon that ends gives its lines to get out, ms. */
const LAST_LINES_MS = 1_000;

/** Takes one line a call, newline included. */
type Sink = {
  /** False: the line is lost. */
  readonly write: (line: string) => boolean;
  /** Resolves when all that was taken is written, at once where it always is. */
  readonly written: () => Promise<void>;
};

export class LogOutput {
  readonly #sink: Sink;
  #lost = 0;
  #lostUnsaid = 0;

  /** @param fd what the log is written to; it stays open */
  constructor(fd: number) {
    const type = fstatSync(fd);
    this.#sink = type.isFIFO() || type.isSocket() ? streamSink(fd, type.isFIFO(), () => this.#sayLost()) : fileSink(fd);
  }

  /** Lines that could not be written since the start. */
  get lost(): number {
    return this.#lost;
  }

  write(line: string): void {
    this.#sayLost();
    if (this.#lostUnsaid === 0 && this.#sink.write(line)) return;
    this.#lost += 1;
    this.#lostUnsaid += 1;
  }

  /** Waits a moment for lines that wait themselves. */
  async end(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LAST_LINES_MS);
    await Promise.race([this.#sink.written(), late]);
    clearTimeout(timer);
  }

  #sayLost(): void {
    if (this.#lostUnsaid === 0) return;
    const line = { level: 'warn', time: new Date().toISOString(), pid: process.pid, lost: this.#lostUnsaid };
    const msg = 'lines of the log are missing here: what takes them did not, or its disk was full';
    if (this.#sink.write(`${JSON.stringify({ ...line, msg })}\n`)) this.#lostUnsaid = 0;
  }
}

/** A file or a terminal: a line is written when the call returns. */
function fileSink(fd: number): Sink {
  // The disk was full in the midst of a line.
  let torn = false;
  const write = (line: string): boolean => {
    const bytes = Buffer.from(torn ? `\n${line}` : line);
    try {
      const written = writeSync(fd, bytes);
      if (written > 0) torn = written < bytes.length;
      return written === bytes.length;
    } catch {
      return false;
    }
  };
  return { write, written: () => Promise.resolve() };
}

/**
 * A pipe or a socket: what its reader has room for is written when the call returns, some more waits. A pipe is opened once more, for
 * "not waiting" is a property of the opened file, which other programs may share; a socket cannot be, and a journal gives each its own.
 */
function streamSink(fd: number, isPipe: boolean, roomAgain: () => void): Sink {
  const socket = new Socket({ fd: isPipe ? reopened(fd) : fd, readable: false, writable: true });
  // Nobody reads any more: lines are lost from here on.
  socket.on('error', () => {});
  socket.on('drain', roomAgain);
  const write = (line: string): boolean => {
    const bytes = Buffer.from(line);
    if (socket.destroyed || socket.writableLength + bytes.length > MAX_WAITING_LOG_BYTES) return false;
    socket.write(bytes);
    return true;
  };
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  socket.once('close', resolve);
  return { write, written: () => Promise.race([gone, new Promise<void>((done) => socket.write('', () => done()))]) };
}

function reopened(fd: number): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    // Nobody reads it even now; that shows at the first write.
    return fd;
  }
}
