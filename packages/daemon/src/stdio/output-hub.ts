/** Everything that reads one container's output: subscribes to the shim while somebody is attached and a moment longer, feeds the cursors, keeps the log at hand. */
import type { Logger } from 'pino';
import { Cursor, type CursorHub, type CursorSink } from './cursor.ts';
import type { HubOptions } from './hub-options.ts';
import { LiveBuffer } from './live-buffer.ts';
import { LogFiles } from './log-files.ts';
import { OutputStats } from './output-stats.ts';
import { Patience } from './patience.ts';
import { answered, type ExitRecord, type Location, type ShimIo, ShimLost } from './shim.ts';

/** Output on its way between shim and hub. With a log it only has to cover the event loop's jitter at full speed. */
const LOGGED_WINDOW_BYTES = 4 * 1024 * 1024;
/** Live output that is kept although everybody has taken it: enough for who reads the log to meet it. */
const CATCH_UP_BYTES = 256 * 1024;
/** Stretches of log remembered at the container's exit, when the shim can no longer be asked. The shim's own index is no longer. */
const MAX_STRETCHES = 4096;
/** How often clients that hold a container without a log back are looked at, and its shim is told what they have taken. */
const STALL_CHECK_MS = 1000;
/** How long output is still received once nobody is attached: who has lost a connection, or asks again and again, comes back by then. */
const LINGER_MS = 5_000;
/** And how much of it: a container that is loud while nobody listens is not worth it. */
const LINGER_BYTES = 1024 * 1024;

/** A place in the output that is kept until a session takes it (a ticket's life). It holds nothing back. */
export type Claim = { readonly offset: number };

export class OutputHub implements CursorHub {
  readonly maxLagBytes: number;
  readonly endWhenBehind: boolean;
  readonly log: Logger;
  readonly stats: OutputStats;
  readonly #io: ShimIo;
  readonly #options: HubOptions;
  readonly #cursors = new Set<Cursor>();
  readonly #claims = new Set<Claim>();
  #live = new LiveBuffer(0);
  #files: LogFiles | undefined;
  #active: Promise<void> | undefined;
  /** Where the shim was when it was subscribed to: what is older was asked for to be replayed, and is not new. */
  #subscribedAt = 0;
  #acked = 0;
  /** Output is being handed to all cursors; what they have taken is looked at once, behind the last of them. */
  #feeding = false;
  #exit: ExitRecord | undefined;
  #lost: ShimLost | undefined;
  /** After the exit: where the output is in the log. */
  #stretches: Promise<readonly Location[]> | undefined;
  #stallTimer: NodeJS.Timeout | undefined;
  readonly #patience = new Patience();
  #patienceTimer: NodeJS.Timeout | undefined;
  /** Nobody is attached, and the hub waits for somebody to come back. */
  #lingering: { readonly timer: NodeJS.Timeout; readonly until: number } | undefined;

  constructor(io: ShimIo, options: HubOptions) {
    this.#io = io;
    this.#options = options;
    this.maxLagBytes = options.maxLagBytes;
    this.endWhenBehind = options.slow === 'end';
    this.log = options.log;
    this.stats = options.stats ?? new OutputStats();
  }

  get live(): LiveBuffer {
    return this.#live;
  }

  get files(): LogFiles | undefined {
    return this.#files;
  }

  get exit(): ExitRecord | undefined {
    return this.#exit;
  }

  /** Sessions that read now. */
  get cursorCount(): number {
    return this.#cursors.size;
  }

  /** Bytes that the live buffer holds, overhead included. */
  get bufferedBytes(): number {
    return this.#live.cost;
  }

  /** Whether anybody may still look at output from one offset up to another in the memory that it came in. */
  holds(from: number, to: number): boolean {
    if (to > this.#live.tail) return true;
    for (const cursor of this.#cursors) if (cursor.holds(from, to)) return true;
    return false;
  }

  /**
   * Keeps output from now on until `open` or `release`.
   * @throws ShimLost when the container's shim is gone; ShimSilent when it does not answer
   */
  async claim(): Promise<Claim> {
    // Counted before the wait, so that a session that ends meanwhile does not let the hub go to sleep.
    const placeholder = { offset: 0 };
    this.#claims.add(placeholder);
    this.#stopLingering();
    const active = this.#activate();
    const over = (): void => this.release(placeholder);
    try {
      await answered(active, this.#options.answerMs);
      const claim = { offset: await this.#now() };
      this.#claims.add(claim);
      over();
      return claim;
    } catch (error) {
      // Counted until an answer comes: the hub must not go to sleep while it is woken.
      active.then(over, over);
      throw error;
    }
  }

  release(claim: Claim): void {
    this.#claims.delete(claim);
    this.#lingerIfIdle();
  }

  /** Turns a claim into a cursor. `from: 'start'` begins with the oldest output that is kept, without a hole to the live output. */
  open(claim: Claim, from: 'now' | 'start', wanted: { stdout: boolean; stderr: boolean }, sink: CursorSink): Cursor {
    let position = from === 'start' ? 0 : claim.offset;
    // Without a log, a claim does not hold the container back; what the live buffer dropped meanwhile is gone, as for any late reader.
    if (this.#files === undefined) position = Math.max(position, this.#live.tail);
    const cursor = new Cursor(this, sink, wanted, position, from === 'start');
    this.#cursors.add(cursor);
    this.#claims.delete(claim);
    this.#watchStalls();
    // The sink's owner first gets the cursor, then output.
    queueMicrotask(() => {
      if (this.#lost !== undefined && this.#exit === undefined) cursor.fail('SupervisorLost', this.#lost.message);
      else cursor.pump();
    });
    return cursor;
  }

  /** The log has been reopened: the new file is pinned, so that another rotation cannot take it from a lagging session; what nobody needs is closed. */
  async logReopened(): Promise<void> {
    const files = this.#files;
    if (files === undefined) return;
    await files.pin();
    // A shim that is gone says nothing; then the older files stay open until the hub sleeps.
    const now = await this.#io.locate(undefined).catch(() => undefined);
    if (now !== undefined) await files.settle(now.end);
  }

  output(stream: 1 | 2, offset: number, data: Buffer): void {
    const live = this.#live;
    if (this.#active === undefined || offset + data.length <= live.head) return;
    if (offset > live.head) this.gap(live.head, offset);
    const fresh = offset < live.head ? data.subarray(live.head - offset) : data;
    live.push(stream, live.head, fresh);
    this.#feeding = true;
    for (const cursor of this.#cursors) cursor.pump();
    this.#feeding = false;
    if (this.#files !== undefined || this.endWhenBehind || this.#cursors.size === 0) {
      if (this.#files !== undefined) this.#letGo(this.#wanted());
      const { tail } = live;
      live.trimToCost(this.#options.liveBufferBytes);
      this.stats.evictedForRoom += live.tail - tail;
    }
    this.#acknowledge();
    if (this.#lingering !== undefined && live.head >= this.#lingering.until) this.#sleep();
  }

  /** The shim could not wait for us: `[from, to)` is in the log, if anywhere. */
  gap(from: number, to: number): void {
    this.stats.gaps += 1;
    this.stats.gapBytes += to - from;
    this.stats.evictedByGap += this.#live.head - this.#live.tail;
    this.#live.reset(to);
    for (const cursor of this.#cursors) {
      cursor.relocate();
      cursor.pump();
    }
    this.#acknowledge();
  }

  /** The container has ended; every cursor ends when it has written everything. */
  ended(record: ExitRecord): void {
    this.#exit = record;
    if (this.#lingering !== undefined) this.#sleep();
    if (this.#active !== undefined && this.#options.logPath !== undefined) {
      // A subscription that is still being made is waited for: whoever asked for it may want everything from the start.
      this.#stretches = this.#active.then(async () => {
        const from =
          this.#claims.size > 0 ? 0 : Math.min(...[...this.#cursors].map((cursor) => cursor.position), Number(record.offset));
        return await this.#remember(from, Number(record.offset));
      });
      this.#stretches.catch(() => undefined);
      this.#io.holdLeave(this.#stretches);
    }
    for (const cursor of this.#cursors) cursor.pump();
  }

  /** The shim is gone without a word. Cursors still write what they have. */
  supervisorLost(error: ShimLost): void {
    this.#lost = error;
    if (this.#lingering !== undefined) this.#sleep();
    for (const cursor of this.#cursors) cursor.fail('SupervisorLost', error.message);
  }

  moved(cursor: Cursor): void {
    if (cursor.done) {
      // What its client has not taken yet is on its way until the connection ends, which nobody tells us.
      if (cursor.holdsLive) this.#io.forgetOutput();
      this.#cursors.delete(cursor);
      this.#lingerIfIdle();
    }
    if (!this.#feeding && (this.#files === undefined || this.#patience.waits)) this.#acknowledge();
  }

  async locate(offset: number): Promise<Location> {
    if (this.#stretches === undefined) return await this.#io.locate(offset);
    for (const stretch of await this.#stretches) {
      if (offset >= stretch.first && offset < stretch.end) return stretch;
    }
    throw new ShimLost(`nothing is known of offset ${offset} after the container's exit`);
  }

  /**
   * Has a partial line written to the log. At its end a shim does so by itself, and then leaves: whoever has heard of a partial line right
   * before that has nobody to ask, and finds it where everything is.
   */
  async flush(): Promise<void> {
    if (this.#stretches === undefined) await this.#io.flush();
    else await this.#stretches;
  }

  /** Where the container's output is. While a slow session holds it back, more of it is in the shim than has come from there. */
  async #now(): Promise<number> {
    const come = Math.max(this.#live.head, this.#subscribedAt);
    const holdsBack = (cursor: Cursor): boolean => !cursor.caughtUp;
    if (this.#files !== undefined || this.#exit !== undefined || ![...this.#cursors].some(holdsBack)) return come;
    const { end } = await answered(this.#io.locate(undefined), this.#options.answerMs);
    return Math.max(come, end);
  }

  #activate(): Promise<void> {
    this.#active ??= this.#subscribe().catch((error: unknown) => {
      this.#active = undefined;
      throw error;
    });
    return this.#active;
  }

  async #subscribe(): Promise<void> {
    const { logPath } = this.#options;
    const now = await this.#io.locate(undefined);
    // Without a log only the ring can give `from=start` anything, so all of it is fetched.
    const from = logPath === undefined ? now.first : now.end;
    this.#live = new LiveBuffer(from);
    this.#subscribedAt = now.end;
    this.#acked = from;
    if (logPath !== undefined) {
      this.#files = new LogFiles(logPath, () => this.#needed());
      await this.#files.pin();
    }
    this.stats.active.add(this);
    this.#io.subscribe(from, this.#window());
  }

  #lingerIfIdle(): void {
    if (this.#cursors.size > 0 || this.#claims.size > 0 || this.#active === undefined || this.#lingering !== undefined) return;
    if (this.#exit !== undefined || this.#lost !== undefined) return this.#sleep();
    const { ms, bytes } = this.#options.linger ?? { ms: LINGER_MS, bytes: LINGER_BYTES };
    const timer = setTimeout(() => this.#sleep(), ms).unref();
    this.#lingering = { timer, until: this.#live.head + bytes };
    // What a client that was far behind has left.
    this.#letGo(this.#live.head - (this.#files === undefined ? this.#options.ringBytes : CATCH_UP_BYTES));
  }

  #stopLingering(): void {
    clearTimeout(this.#lingering?.timer);
    this.#lingering = undefined;
  }

  /** Lets go of the output and of everything that was needed for it. */
  #sleep(): void {
    this.#stopLingering();
    this.#active = undefined;
    this.stats.active.delete(this);
    if (this.#exit === undefined && this.#lost === undefined) this.#io.unsubscribe();
    this.#live = new LiveBuffer(this.#live.head);
    clearInterval(this.#stallTimer);
    this.#stallTimer = undefined;
    clearTimeout(this.#patienceTimer);
    this.#patienceTimer = undefined;
    const files = this.#files;
    this.#files = undefined;
    files?.close().catch((error: unknown) => this.log.warn({ err: error }, 'closing a log file failed'));
  }

  /** With a log what is received is taken at once, or as soon as a quick client has it. Without one, the slowest cursor holds the container back. */
  #acknowledge(least = this.#window() / 4): void {
    const live = this.#live;
    let taken = this.#files === undefined ? live.head : this.#takenByTheFirst();
    if (this.#files === undefined && !this.endWhenBehind) {
      for (const cursor of this.#cursors) taken = Math.min(taken, cursor.position);
      if (this.#cursors.size > 0) this.#letGo(Math.min(taken, this.#oldestClaim(), live.head - this.#options.ringBytes));
    }
    if (taken - this.#acked < least) return;
    this.#acked = taken;
    this.#io.ack(taken);
  }

  /** Output on its way. With a log no more than the live buffer holds beside what is kept in it anyway, or waiting for a quick client would be in vain. */
  #window(): number {
    const { liveBufferBytes } = this.#options;
    return this.#files === undefined ? liveBufferBytes : Math.min(LOGGED_WINDOW_BYTES, Math.ceil((liveBufferBytes * 3) / 4));
  }

  /** What the client that is furthest on has taken, while the container may wait for it; else everything. */
  #takenByTheFirst(): number {
    const { head } = this.#live;
    let first = -1;
    for (const cursor of this.#cursors) if (cursor.keepsUp) first = Math.max(first, cursor.position);
    if (first < 0 || first >= head) {
      this.#patience.rest();
      return head;
    }
    const wait = this.#patience.waitFor(first);
    if (wait === 0) return head;
    this.#patienceTimer ??= setTimeout(() => {
      this.#patienceTimer = undefined;
      if (this.#patience.waits && this.#active !== undefined) this.#acknowledge();
    }, wait);
    return first;
  }

  /** With a log: from where on somebody still wants what the live buffer holds. */
  #wanted(): number {
    let from = Math.min(this.#oldestClaim(), this.#live.head - CATCH_UP_BYTES);
    for (const cursor of this.#cursors) if (cursor.keepsUp) from = Math.min(from, cursor.position);
    return from;
  }

  /** Below this offset nobody wants anything of the log any more. */
  #needed(): number {
    let from = Number.POSITIVE_INFINITY;
    for (const claim of this.#claims) from = Math.min(from, claim.offset);
    for (const cursor of this.#cursors) from = Math.min(from, cursor.position);
    return from;
  }

  /** Nobody wants what lies below this offset any more. */
  #letGo(offset: number): void {
    const { tail } = this.#live;
    this.#live.trimToOffset(offset);
    this.stats.taken += this.#live.tail - tail;
  }

  /** What a claim may still want of the live buffer; one that is older than the buffer's size is not kept for. */
  #oldestClaim(): number {
    const oldest = Math.min(...[...this.#claims].map((claim) => claim.offset));
    return Math.max(oldest, this.#live.head - this.#options.liveBufferBytes);
  }

  /** Where everything from an offset to the end is in the log; asked while the shim is still there. */
  async #remember(from: number, end: number): Promise<readonly Location[]> {
    const found: Location[] = [];
    for (let at = from; at < end && found.length < MAX_STRETCHES; ) {
      const where = await this.#io.locate(at);
      if (where.kind === 'ring' || where.end <= at) break;
      found.push(where);
      at = where.end;
    }
    return found;
  }

  #watchStalls(): void {
    if (this.#files !== undefined || this.endWhenBehind || this.#stallTimer !== undefined) return;
    // What clients have taken while this process had no turn is heard first.
    this.#stallTimer = setInterval(() => setImmediate(() => void this.#endStalled()), STALL_CHECK_MS).unref();
  }

  async #endStalled(): Promise<void> {
    await Promise.all([...this.#cursors].map(async (cursor) => await cursor.look()));
    const now = performance.now();
    for (const cursor of this.#cursors) {
      const since = cursor.blockedSince;
      if (since === 0 || now - since < this.#options.stallMs || cursor.position >= this.#live.head) continue;
      cursor.fail(
        'SlowClient',
        `the container has no log, and the client has taken nothing for ${Math.round(this.#options.stallMs / 1000)} s`,
      );
    }
    // However little they have taken, and if it is nothing: a shim that waits and hears nothing for longer than clients are given gives us up.
    if (this.#active !== undefined && [...this.#cursors].some((cursor) => !cursor.caughtUp)) this.#acknowledge(0);
  }
}
