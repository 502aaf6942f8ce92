/**
 * Where the lines of the log go: never waiting for what reads them and never failing because of it. A collector that stalls, a pipe that
 * nobody reads, a full disk would otherwise hold up every call and every session, or end the daemon. Lines that do not fit are lost; how
 * many is said in the log as soon as it takes lines again, and by the metrics. Only a terminal that is stopped, or a datagram socket that nobody reads, holds its programs up.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';

/** Lines that wait for their reader, bytes: a second or two of a busy daemon; who stalls for longer has stopped. */
export const MAX_WAITING_LOG_BYTES = 1024 * 1024;
/** What a daemon that ends gives its lines to get out, ms. */
const LAST_LINES_MS = 1_000;
/** How often a pipe whose reader has gone is looked at again, ms. */
const REOPEN_MS = 1_000;
/** What a pipe takes whole or not at all, bytes (pipe(7)). */
const PIPE_BUF = 4096;
const NEWLINE = Buffer.from('\n');

/** Takes one line a call, newline included. */
type Sink = {
  /** False: the line is lost. `lost` is called when one that was taken is lost after all. */
  readonly write: (line: string, lost: () => void) => boolean;
  /** Resolves when all that was taken is written, at once where it always is. */
  readonly written: () => Promise<void>;
};

export class LogOutput {
  readonly #sink: Sink;
  #lost = 0;
  #lostUnsaid = 0;

  /** @param fd what the log is written to; nobody else writes there meanwhile */
  constructor(fd: number) {
    this.#sink = sinkFor(fd, () => this.#sayLost());
  }

  /** Lines that could not be written since the start. */
  get lost(): number {
    return this.#lost;
  }

  write(line: string): void {
    this.#sayLost();
    if (this.#lostUnsaid > 0 || !this.#sink.write(line, this.#lostOne)) this.#lostOne();
  }

  /** Waits a moment for lines that wait themselves. */
  async end(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LAST_LINES_MS);
    await Promise.race([this.#sink.written(), late]);
    clearTimeout(timer);
  }

  readonly #lostOne = (): void => {
    this.#lost += 1;
    this.#lostUnsaid += 1;
  };

  #sayLost(): void {
    const lost = this.#lostUnsaid;
    if (lost === 0) return;
    const line = { level: 'warn', time: new Date().toISOString(), pid: process.pid, lost };
    const msg = 'lines of the log are missing here: what takes them did not, or its disk was full';
    const unsaid = (): void => void (this.#lostUnsaid += lost);
    if (this.#sink.write(`${JSON.stringify({ ...line, msg })}\n`, unsaid)) this.#lostUnsaid -= lost;
  }
}

function sinkFor(fd: number, roomAgain: () => void): Sink {
  const type = fstatSync(fd);
  if (type.isFIFO()) return streamSink(() => openedAgain(fd), roomAgain);
  if (!type.isSocket()) return fileSink(fd);
  // One that has broken does not come back. What is no stream (a datagram socket) is written to as it is.
  const socket = socketOf(fd);
  return socket === undefined ? fileSink(fd) : streamSink(() => socket, roomAgain);
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
 * A pipe or a socket: what its reader has room for is written when the call returns, some more waits. One line is handed on at a time: up
 * to PIPE_BUF bytes a pipe takes all or nothing, and of those that wait when the reader goes none is out.
 */
function streamSink(open: () => Socket | undefined, roomAgain: () => void): Sink {
  let socket: Socket | undefined;
  let openedAt = Number.NEGATIVE_INFINITY;
  let waiting: { readonly bytes: Buffer; readonly lost: () => void }[] = [];
  let waitingBytes = 0;
  /** The reader before went in the midst of a line. */
  let torn = false;
  let idle = Promise.withResolvers<void>();

  const usable = (): Socket | undefined => {
    if (socket?.destroyed === false || performance.now() - openedAt < REOPEN_MS) return socket;
    openedAt = performance.now();
    socket = open();
    return socket;
  };
  const send = (to: Socket, bytes: Buffer, lost: () => void): void => {
    const whole = torn ? Buffer.concat([NEWLINE, bytes]) : bytes;
    torn = false;
    to.write(whole, (error) => {
      if (!error) return next();
      torn ||= whole.length > PIPE_BUF;
      lost();
      for (const each of waiting) each.lost();
      waiting = [];
      waitingBytes = 0;
      idle.resolve();
    });
  };
  const next = (): void => {
    while (socket?.destroyed === false && socket.writableLength === 0) {
      const line = waiting.shift();
      if (line === undefined) {
        idle.resolve();
        return roomAgain();
      }
      waitingBytes -= line.bytes.length;
      send(socket, line.bytes, line.lost);
    }
  };
  const write = (line: string, lost: () => void): boolean => {
    const to = usable();
    const bytes = Buffer.from(line);
    if (to === undefined || to.destroyed || waitingBytes + bytes.length > MAX_WAITING_LOG_BYTES) return false;
    if (waiting.length === 0 && to.writableLength === 0) send(to, bytes, lost);
    else {
      waiting.push({ bytes, lost });
      waitingBytes += bytes.length;
    }
    return true;
  };
  const written = async (): Promise<void> => {
    if (socket === undefined || socket.destroyed || (waiting.length === 0 && socket.writableLength === 0)) return;
    idle = Promise.withResolvers<void>();
    await idle.promise;
  };
  return { write, written };
}

/** The pipe, opened once more: "not waiting" is a property of the opened file, which other programs may share. Undefined: nobody reads it. */
function openedAgain(fd: number): Socket | undefined {
  try {
    return socketOf(openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch (error) {
    // Where it may not be opened, it is written to as it is.
    return (error as NodeJS.ErrnoException).code === 'ENXIO' ? undefined : socketOf(fd);
  }
}

function socketOf(fd: number): Socket | undefined {
  try {
    // Its writes say for themselves that they have failed.
    return new Socket({ fd, readable: false, writable: true }).on('error', () => {});
  } catch {
    return undefined;
  }
}
