// Bounds what stands in front of a pong, the kernel's buffers included: Node cannot make those smaller, and they hold minutes of a slow reader's data.

import { Buffer } from 'node:buffer';

/** Sent and not yet acknowledged by a client of unknown speed: at 20 KB/s it stands 13 s in front of a pong. client-go gives up after 61 s. */
const FIRST_WINDOW_BYTES = 256 * 1024;
/** For a client near by: twice what the fastest takes in one round trip, and at 20 KB/s, should it become slow, less than client-go's 61 s. */
const NEAR_WINDOW_BYTES = 1024 * 1024;
/** For one that is far away but fast: 100 MB/s at 160 ms. */
const FAR_WINDOW_BYTES = 16 * 1024 * 1024;
/** Answers within this are from near by. */
const NEAR_MS = 20;
/** Later ones are from a client that is slow, not far away. */
const FAR_MS = 500;
const ID_BYTES = 4;
/**
 * Marks on their way at one time to a client that answers: with one alone, everything behind it waits for its answer although the client
 * has long read on.
 */
const MARKS = 4;
/** The first mark stands early, so that even a slow client has shown by then that it answers. */
const FIRST_MARK_BYTES = 16 * 1024;
/**
 * How long a client that has never answered and has taken everything is waited for, again and again. One that cannot answer waits so long once;
 * one that could, and was kept from it by a busy machine, would have minutes of output in front of the answer to its own ping.
 */
const DEAF_MS = 5_000;

/** What the pace needs; the clock is injected by tests only. */
export type PaceParts = {
  readonly ping: (payload: Buffer) => void;
  readonly opened: () => void;
  /** Bytes that the client's kernel has not acknowledged. */
  readonly unsent: () => Promise<number>;
  readonly now?: () => number;
};

/** How far output may run ahead of a client. */
export type Flow = {
  /** Enough is on its way. */
  readonly closed: boolean;
  /** The client has answered a mark between the data: it does what RFC 6455 asks for. */
  readonly answers: boolean;
  /** So many bytes have been given to the socket. */
  sent(bytes: number): void;
  /** A pong came. */
  pong(payload: Uint8Array): void;
  /** The client's frames are not read for now, or never again. */
  suspend(): void;
  /** They are read again. */
  resume(): void;
};

type Probe = { readonly id: number; readonly at: number; readonly since: number };

/**
 * Pings stand between the data as marks; the client's pong says how far it has read. No more than a window is sent beyond the last answered
 * mark; the window grows while answers come quickly. RFC 6455, 5.5.2: every client answers a ping with its payload. One that has never
 * done so, though it has taken everything, is left to itself.
 */
export class Pace implements Flow {
  readonly #parts: PaceParts;
  readonly #now: () => number;
  #window = FIRST_WINDOW_BYTES;
  #sent = 0;
  #acknowledged = 0;
  #lastMark = 0;
  /** Marks without an answer, oldest first. */
  #probes: Probe[] = [];
  #nextId = 1;
  /** Not while the client's frames are not read: its pongs stand behind its input. */
  #active = true;
  #waited = false;
  #answers = false;
  #isDeaf = false;
  #deafTimer: NodeJS.Timeout | undefined;

  constructor(parts: PaceParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
  }

  /** Enough is on its way: `opened` is called when there is room again. */
  get closed(): boolean {
    const closed = this.#active && this.#sent - this.#acknowledged >= this.#window;
    if (!closed) return false;
    this.#waited = true;
    if (!this.#answers) this.#deafTimer ??= setTimeout(() => void this.#listen(), DEAF_MS).unref();
    return true;
  }

  get answers(): boolean {
    return this.#answers;
  }

  sent(bytes: number): void {
    this.#sent += bytes;
    if (!this.#active || !this.#isMarkDue()) return;
    const payload = Buffer.alloc(ID_BYTES);
    payload.writeUInt32BE(this.#nextId);
    this.#probes.push({ id: this.#nextId, at: this.#sent, since: this.#now() });
    this.#lastMark = this.#sent;
    this.#nextId = (this.#nextId + 1) >>> 0;
    this.#parts.ping(payload);
  }

  /** A pong came; those that answer no mark of ours say nothing. */
  pong(payload: Uint8Array): void {
    if (payload.length !== ID_BYTES) return;
    const id = Buffer.from(payload).readUInt32BE();
    const index = this.#probes.findIndex((each) => each.id === id);
    const probe = this.#probes[index];
    if (probe === undefined) return;
    // RFC 6455, 5.5.3: who answers a ping need not have answered those before it.
    this.#probes = this.#probes.slice(index + 1);
    this.#answers = true;
    this.#acknowledged = probe.at;
    const took = this.#now() - probe.since;
    const most = took <= NEAR_MS ? NEAR_WINDOW_BYTES : FAR_WINDOW_BYTES;
    if (took > FAR_MS) this.#window = FIRST_WINDOW_BYTES;
    else if (this.#waited) this.#window = Math.max(this.#window, Math.min(this.#window * 2, most));
    this.#waited = false;
    // What has been sent since may be worth a mark of its own.
    this.sent(0);
    if (!this.closed) this.#parts.opened();
  }

  suspend(): void {
    this.#active = false;
    this.#probes = [];
    clearTimeout(this.#deafTimer);
    this.#deafTimer = undefined;
    this.#parts.opened();
  }

  /** They are read again; what has been sent meanwhile counts as read, or nobody would ever say so. */
  resume(): void {
    if (this.#active || this.#isDeaf) return;
    this.#active = true;
    this.#acknowledged = this.#sent;
    this.#lastMark = this.#sent;
  }

  #isMarkDue(): boolean {
    const since = this.#sent - this.#lastMark;
    return this.#answers ? since >= this.#window / MARKS : this.#probes.length === 0 && since >= FIRST_MARK_BYTES;
  }

  async #listen(): Promise<void> {
    this.#deafTimer = undefined;
    const unsent = await this.#parts.unsent();
    if (this.#answers || !this.closed || unsent > 0) return;
    this.#isDeaf = true;
    this.suspend();
  }
}
