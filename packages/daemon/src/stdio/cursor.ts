/** One session's place in a container's output. It holds nobody back: what it does not take in time, it reads from the log later. */
import type { Logger } from 'pino';
import { type LiveBuffer, run } from './live-buffer.ts';
import type { LogFiles } from './log-files.ts';
import { LogDamaged, logMemory, readLog } from './log-reader.ts';
import type { OutputStats } from './output-stats.ts';
import type { ExitRecord, Location } from './shim.ts';
import type { RoundSlabs } from './slabs.ts';

/** Where a cursor's output goes. */
export type CursorSink = {
  /** Takes bytes of stream 1 (stdout) or 2 (stderr); false: no more until `Cursor.resume`. */
  write(stream: 1 | 2, data: Buffer): boolean;
  /** Whatever `write` was given has left the process; absent: it may be kept for ever. */
  flushed?(): boolean;
  /** Bytes on their way that change while whoever reads them does so, be it too slowly for `resume`; absent: nobody can tell. */
  unsent?(): Promise<number>;
  /** Called once, after the last `write`. */
  ended(end: CursorEnd): void;
};

export type CursorEnd =
  /** The container has ended and all its output has been written. */
  | { readonly kind: 'exit'; readonly record: ExitRecord }
  /** The cursor cannot go on; `reason` is one of docs/errors.md's session reasons. */
  | { readonly kind: 'failed'; readonly reason: CursorFailure; readonly message: string };

export type CursorFailure = 'SlowClient' | 'LagLimit' | 'OutputLost' | 'SupervisorLost';

/** What a cursor needs of its hub. */
export interface CursorHub {
  readonly live: LiveBuffer;
  readonly files: LogFiles | undefined;
  readonly exit: ExitRecord | undefined;
  readonly maxLagBytes: number;
  readonly endWhenBehind: boolean;
  readonly log: Logger;
  readonly stats: OutputStats;
  locate(offset: number): Promise<Location>;
  flush(): Promise<void>;
  /** The cursor has moved on, or is gone. */
  moved(cursor: Cursor): void;
}

/**
 * States: `live` (fed as output comes), `blocked` (the sink asked to wait), `log` (reading what it missed), `done`.
 *
 *     live <-> blocked -> log -> live
 *        \________|________/ -> done
 */
export class Cursor {
  readonly #hub: CursorHub;
  readonly #sink: CursorSink;
  readonly #wanted: { readonly stdout: boolean; readonly stderr: boolean };
  /** With `from=start`, what is lost or rotated away at the very beginning is passed over: older than what is kept is no loss. */
  readonly #fromStart: boolean;
  #position: number;
  #released = 0;
  /** Offset behind the newest byte that the sink was given from the live buffer. */
  #liveEnd = 0;
  #number = 0;
  /** It has passed output, wanted or not. */
  #begun = false;
  #written = false;
  #blocked = false;
  #reading = false;
  #done = false;
  #wake: (() => void) | undefined;
  /** When the sink began to make us wait, or was last seen to move since, ms; 0 while it does not. */
  #blockedSince = 0;
  /** What was on its way then. */
  #unsent: number | undefined;

  constructor(
    hub: CursorHub,
    sink: CursorSink,
    wanted: { stdout: boolean; stderr: boolean },
    position: number,
    fromStart: boolean,
  ) {
    this.#hub = hub;
    this.#sink = sink;
    this.#wanted = wanted;
    this.#position = position;
    this.#released = position;
    this.#fromStart = fromStart;
    this.#number = hub.live.find(position);
  }

  /** Offset of the next byte to be written. */
  get position(): number {
    return this.#position;
  }

  get done(): boolean {
    return this.#done;
  }

  /** It is fed from the live buffer, not from the log. */
  get keepsUp(): boolean {
    return !this.#reading && this.#position >= this.#hub.live.tail;
  }

  /** How far it is behind the container's newest output that the daemon knows of, bytes. */
  get lag(): number {
    return Math.max(0, this.#hub.live.head - this.#position);
  }

  /** Below this offset the sink keeps nothing of the memory that it was given. */
  get released(): number {
    this.#noteFlushed();
    return this.#released;
  }

  /**
   * Whether the sink may still look at output from one offset up to another where it lay in the live buffer. What it was given since from the
   * log is elsewhere: a client that has stopped holds little, however long ago it stopped.
   */
  holds(from: number, to: number): boolean {
    return from < this.#liveEnd && to > this.released;
  }

  /** The sink may still look at memory of the live buffer. */
  get holdsLive(): boolean {
    return this.released < this.#liveEnd;
  }

  /** Since when the sink has taken nothing, `performance.now()`; 0 when it does not make us wait. */
  get blockedSince(): number {
    return this.#blockedSince;
  }

  /** Everything that there is has been given to the sink, and the sink wants more. */
  get caughtUp(): boolean {
    return !this.#blocked && !this.#reading && this.#position >= this.#hub.live.head;
  }

  /** Looks whether something moves behind a sink that makes us wait: a kernel says only after a MiB or more that there is room again. */
  async look(): Promise<void> {
    const since = this.#blockedSince;
    if (since === 0 || this.#sink.unsent === undefined) return;
    const unsent = await this.#sink.unsent();
    if (this.#blockedSince !== since) return;
    if (this.#unsent !== undefined && unsent !== this.#unsent) this.#blockedSince = performance.now();
    this.#unsent = unsent;
  }

  /** The sink has room again. */
  resume(): void {
    if (this.#done) return;
    this.#blocked = false;
    this.#blockedSince = 0;
    this.#unsent = undefined;
    const wake = this.#wake;
    this.#wake = undefined;
    if (wake !== undefined) wake();
    else this.pump();
  }

  /** The session goes; nothing is written any more. */
  close(): void {
    if (this.#done) return;
    this.#done = true;
    this.#wake?.();
    this.#hub.moved(this);
  }

  fail(reason: CursorFailure, message: string): void {
    this.#end({ kind: 'failed', reason, message });
  }

  /** The live buffer has been emptied: numbers of chunks mean nothing any more. */
  relocate(): void {
    this.#number = this.#hub.live.find(this.#position);
  }

  /** Writes what is there until the sink has enough. Called by the hub whenever something has changed. */
  pump(): void {
    const { live } = this.#hub;
    // Now, and not right behind a write: TLS is done with what it was given only when the event loop has gone on.
    this.#noteFlushed();
    while (!this.#done) {
      if (this.#blocked) return this.#checkLag();
      if (this.#reading) return;
      if (this.#position < live.tail || this.#endsInLog()) return void this.#readLog();
      const chunk = live.chunk(this.#number);
      const end = chunk === undefined ? 0 : chunk.offset + chunk.data.length;
      if (chunk === undefined || end <= this.#position) {
        if (live.chunk(this.#number + 1) === undefined) return this.#checkExit();
        this.#number += 1;
        continue;
      }
      const { stream, data } = run(chunk, this.#position);
      this.#position += data.length;
      this.#liveEnd = this.#position;
      this.#write(stream, data);
      this.#hub.moved(this);
    }
  }

  #noteFlushed(): void {
    if (this.#sink.flushed?.() === true) this.#released = this.#position;
  }

  #write(stream: 1 | 2, data: Buffer): void {
    this.#begun = true;
    if (!(stream === 1 ? this.#wanted.stdout : this.#wanted.stderr)) return;
    this.#written = true;
    if (this.#sink.write(stream, data)) return;
    this.#blocked = true;
    this.#blockedSince = performance.now();
  }

  #checkLag(): void {
    const { live, maxLagBytes, endWhenBehind } = this.#hub;
    const lag = live.head - this.#position;
    if (lag > maxLagBytes) {
      this.fail('LagLimit', `the client is ${lag} bytes behind the container's output, more than is kept for it (${maxLagBytes})`);
    } else if (endWhenBehind && this.#position < live.tail) {
      this.fail('SlowClient', 'the client reads more slowly than the container writes');
    }
  }

  /** The container has ended, and its last output has not come over the socket (the daemon was late): the log has it. */
  #endsInLog(): boolean {
    const { exit, live, files } = this.#hub;
    return exit !== undefined && files !== undefined && this.#position >= live.head && this.#position < Number(exit.offset);
  }

  #checkExit(): void {
    const { exit, live } = this.#hub;
    if (exit === undefined || this.#position < live.head) return;
    if (this.#position < Number(exit.offset)) this.fail('OutputLost', 'the last output of the container was not kept');
    else this.#end({ kind: 'exit', record: exit });
  }

  #end(end: CursorEnd): void {
    if (this.#done) return;
    this.#done = true;
    this.#wake?.();
    this.#sink.ended(end);
    this.#hub.moved(this);
  }

  async #readLog(): Promise<void> {
    this.#reading = true;
    // Who asked for everything since the start has not fallen behind.
    if (this.#hub.files !== undefined && (!this.#fromStart || this.#written)) this.#hub.stats.logFallbacks += 1;
    const memory = logMemory((_, to) => to > this.released);
    try {
      while (!this.#done && (this.#position < this.#hub.live.tail || this.#endsInLog())) await this.#readStretch(memory);
    } catch (error) {
      this.#hub.log.warn({ err: error, position: this.#position }, 'a session cannot catch up');
      const lost = !(error instanceof LogDamaged) && (error as Error).name === 'ShimLost';
      this.fail(
        lost ? 'SupervisorLost' : 'OutputLost',
        `output that the client had not read yet is not available any more: ${(error as Error).message}`,
      );
    } finally {
      this.#reading = false;
      // Of a session that has ended nobody says any more what its client has taken.
      if (!this.#done) memory.rest();
    }
    if (this.#done) return;
    this.relocate();
    this.pump();
  }

  /** Reads one stretch of log that has no hole. */
  async #readStretch(memory: RoundSlabs): Promise<void> {
    const hub = this.#hub;
    const { files } = hub;
    if (files === undefined) return this.#skip(hub.live.tail, 'the container has no log');
    const where = await hub.locate(this.#position);
    // A partial line that is in neither the log nor the live buffer: written to the log, it can be read there.
    if (where.kind === 'ring') return hub.flush();
    if (where.kind === 'lost') return this.#skip(where.end, 'the log has a hole');
    const file = await files.borrow(where);
    if (file === undefined) return this.#skip(where.end, 'the log file that held it is gone');
    try {
      for await (const piece of readLog(file.handle, where.position, where.first, this.#position, where.end, memory)) {
        if (this.#done) return;
        this.#noteFlushed();
        this.#position = piece.offset + piece.data.length;
        hub.stats.logBytes += piece.data.length;
        this.#write(piece.stream, piece.data);
        hub.moved(this);
        if (this.#blocked) await this.#room();
        if (this.#done || (this.#position >= hub.live.tail && !this.#endsInLog())) return;
      }
    } finally {
      file.release();
    }
  }

  /** Resolves when the sink has room again or the cursor is done. */
  async #room(): Promise<void> {
    this.#checkLag();
    if (this.#done) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #skip(to: number, why: string): void {
    if (this.#fromStart && !this.#begun) this.#position = to;
    else this.fail('OutputLost', `output from offset ${this.#position} to ${to} is lost: ${why}`);
  }
}
