/** A tiny daemon for the shim's tests: frames in and out, nothing clever; what the real one does is not tested here. */
import { connect, type Socket } from 'node:net';

/** No answer takes longer on a loaded machine, unless the shim is stuck. */
const ANSWER_MS = 60_000;
export const NEXT = 0xffff_ffff_ffff_ffffn;
/** A window that never shuts in a test that does not look at windows. */
export const OPEN_WINDOW = 0xffff_ffff;

export type Frame = { readonly type: number; readonly flags: number; readonly payload: Buffer };
export type Exit = {
  readonly kind: number;
  readonly code: number;
  readonly signal: number;
  readonly oom: number;
  readonly drained: number;
  readonly offset: number;
};
export type Place = {
  readonly kind: number;
  readonly first: number;
  readonly end: number;
  readonly inode: number;
  readonly position: number;
};

export function frame(type: number, ...parts: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(parts);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(payload.length, 0);
  head[4] = type;
  return Buffer.concat([head, payload]);
}

export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value >>> 0);
  return buffer;
}

export function u64(value: bigint | number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

type Waiter = { readonly test: () => boolean; readonly resolve: () => void };

export class Peer {
  readonly socket: Socket;
  /** Every frame but OUTPUT, in order. */
  readonly frames: Frame[] = [];
  /** Output per stream (1 and 2), kept unless `sink` takes it. */
  readonly output: [Buffer[], Buffer[], Buffer[]] = [[], [], []];
  /** Subscribed from the start with an open window: all output comes. */
  fromStart = false;
  /** Offset behind the newest output byte; output must come without a hole but where a GAP says so. */
  next = -1;
  gaps: { from: number; to: number }[] = [];
  closed = false;
  /** Acknowledges what comes, as it comes. */
  acks = true;
  sink: ((stream: number, offset: number, data: Buffer) => void) | undefined;
  #rest = Buffer.alloc(0);
  #seq = 0;
  readonly #waiters = new Set<Waiter>();

  constructor(path: string) {
    this.socket = connect({ path });
    this.socket.on('data', (chunk: Buffer) => this.#data(chunk));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  /** Connects, says HELLO and waits for WELCOME. */
  static async open(path: string, secret: string): Promise<Peer> {
    const peer = new Peer(path);
    peer.hello(secret);
    await peer.until(() => peer.has(0x81));
    return peer;
  }

  /** Asks for a program besides init; it runs once WELCOME has come. Nothing is subscribed to. */
  static exec(path: string, secret: string, entries: readonly string[]): Peer {
    const peer = new Peer(path);
    const program = Buffer.from(entries.map((entry) => `${entry}\0`).join(''));
    peer.socket.write(Buffer.concat([frame(0x0e, u32(1), Buffer.from(secret, 'hex')), u32(program.length), program]));
    return peer;
  }

  /** What a program that could not be started has failed at. */
  async failure(): Promise<{ step: number; errno: number }> {
    await this.until(() => this.has(0x89));
    const p = this.last(0x89);
    return { step: p[0] ?? 0, errno: p.readUInt32LE(4) };
  }

  hello(secret: string): void {
    this.socket.write(frame(0x01, u32(1), Buffer.from(secret, 'hex')));
  }

  /** The stdin pipe that WELCOME offers, as the daemon would open it. */
  get offeredPipe(): { readonly path: string; readonly inode: bigint } | undefined {
    const p = this.last(0x81);
    const inode = p.readBigUInt64LE(64);
    return inode === 0n ? undefined : { path: `/proc/${p.readUInt32LE(4)}/fd/${p.readUInt32LE(60)}`, inode };
  }

  get welcome(): {
    shimPid: number;
    initPid: number;
    state: number;
    tty: number;
    stdin: number;
    hasLog: number;
    first: number;
    next: number;
    credit: number;
  } {
    const p = this.last(0x81);
    return {
      shimPid: p.readUInt32LE(4),
      initPid: p.readUInt32LE(8),
      state: p[12] ?? 0,
      tty: p[13] ?? 0,
      stdin: p[14] ?? 0,
      hasLog: p[15] ?? 0,
      first: Number(p.readBigUInt64LE(16)),
      next: Number(p.readBigUInt64LE(24)),
      credit: p.readUInt32LE(56),
    };
  }

  has(type: number): boolean {
    return this.frames.some((f) => f.type === type);
  }

  last(type: number): Buffer {
    const found = this.frames.findLast((f) => f.type === type);
    if (found === undefined) throw new Error(`no frame of type ${type.toString(16)}`);
    return found.payload;
  }

  text(stream: 1 | 2 = 1): string {
    return Buffer.concat(this.output[stream]).toString('latin1');
  }

  subscribe(from: number | bigint = 0, window = OPEN_WINDOW): void {
    this.fromStart = false;
    this.socket.write(frame(0x02, u64(from), u32(window)));
  }

  unsubscribe(): void {
    this.fromStart = false;
    this.socket.write(frame(0x03));
  }

  ack(offset: number): void {
    this.socket.write(frame(0x04, u64(offset)));
  }

  stdin(data: Buffer | string): void {
    const bytes = Buffer.from(data as string);
    for (let at = 0; at < bytes.length; at += 65536) this.socket.write(frame(0x05, bytes.subarray(at, at + 65536)));
  }

  /** STDIN_CREDIT received so far, with what WELCOME gave. */
  get credit(): number {
    return this.frames.filter((f) => f.type === 0x84).reduce((sum, f) => sum + f.payload.readUInt32LE(0), this.welcome.credit);
  }

  closeStdin(): void {
    this.socket.write(frame(0x06));
  }

  resize(columns: number, rows: number): void {
    const size = Buffer.alloc(4);
    size.writeUInt16LE(columns, 0);
    size.writeUInt16LE(rows, 2);
    this.socket.write(frame(0x07, size));
  }

  /** Sends a request with a sequence number; gives errno and data of its reply. */
  async request(type: number, ...parts: readonly Buffer[]): Promise<{ errno: number; data: Buffer }> {
    const seq = ++this.#seq;
    this.socket.write(frame(type, u32(seq), ...parts));
    const find = (): Frame | undefined => this.frames.find((f) => f.type === 0x88 && f.payload.readUInt32LE(0) === seq);
    await this.until(() => find() !== undefined);
    const payload = find()?.payload ?? Buffer.alloc(0);
    return { errno: payload.readUInt32LE(4), data: payload.subarray(8) };
  }

  signal(signal: number, everything = false): Promise<{ errno: number }> {
    return this.request(0x08, Buffer.from([signal, everything ? 1 : 0]));
  }

  async locate(offset: number | bigint): Promise<Place> {
    const { data } = await this.request(0x0b, u64(offset));
    const at = (position: number): number => Number(data.readBigUInt64LE(position));
    return { kind: data[0] ?? 0, first: at(8), end: at(16), inode: at(24), position: at(40) };
  }

  async stdinState(): Promise<{ queued: number; unread: number; state: number }> {
    const { data } = await this.request(0x0c);
    return { queued: data.readUInt32LE(0), unread: data.readUInt32LE(4), state: data[8] ?? 0 };
  }

  async exit(): Promise<Exit> {
    await this.until(() => this.has(0x87));
    const p = this.last(0x87);
    // A container that ended before the subscription: EXIT comes first, what it wrote after it.
    const end = Number(p.readBigUInt64LE(8));
    if (this.fromStart && end > 0) await this.until(() => this.next >= end);
    return {
      kind: p[0] ?? 0,
      code: p[1] ?? 0,
      signal: p[2] ?? 0,
      oom: p[3] ?? 0,
      drained: p[4] ?? 0,
      offset: Number(p.readBigUInt64LE(8)),
    };
  }

  async leave(): Promise<void> {
    await this.request(0x0d);
    await this.end();
  }

  async end(): Promise<void> {
    this.socket.destroy();
    if (!this.closed) await this.until(() => this.closed);
  }

  /** Waits until something is true; it is asked after every frame and at the end of the connection. */
  async until(test: () => boolean, what = test.toString()): Promise<void> {
    if (test()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { test, resolve };
    this.#waiters.add(waiter);
    const timer = setTimeout(
      () => reject(new Error(`not within ${ANSWER_MS} ms: ${what}; output so far: ${this.text().slice(-500)}`)),
      ANSWER_MS,
    );
    await promise.finally(() => {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    });
    if (!test()) throw new Error(`the connection ended before: ${what}; output so far: ${this.text().slice(-500)}`);
  }

  async untilOutput(expected: string | RegExp, stream: 1 | 2 = 1): Promise<void> {
    const found = (): boolean =>
      typeof expected === 'string' ? this.text(stream).includes(expected) : expected.test(this.text(stream));
    await this.until(found, `output ${expected}`);
  }

  #data(chunk: Buffer): void {
    let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    while (data.length >= 8) {
      const length = data.readUInt32LE(0);
      if (data.length < 8 + length) break;
      this.#frame({ type: data[4] ?? 0, flags: data[5] ?? 0, payload: data.subarray(8, 8 + length) });
      data = data.subarray(8 + length);
    }
    this.#rest = Buffer.from(data);
    this.#wake();
  }

  #frame(f: Frame): void {
    if (f.type === 0x83) {
      const gap = { from: Number(f.payload.readBigUInt64LE(0)), to: Number(f.payload.readBigUInt64LE(8)) };
      if (this.next >= 0 && gap.from !== this.next) throw new Error(`gap at ${gap.from}, expected ${this.next}`);
      this.gaps.push(gap);
      this.next = gap.to;
    }
    if (f.type !== 0x82) {
      this.frames.push({ ...f, payload: Buffer.from(f.payload) });
      return;
    }
    const offset = Number(f.payload.readBigUInt64LE(0));
    const data = f.payload.subarray(8);
    if (this.next >= 0 && offset !== this.next) throw new Error(`output at ${offset}, expected ${this.next}`);
    if (f.flags !== 1 && f.flags !== 2) throw new Error(`stream ${f.flags}`);
    this.next = offset + data.length;
    if (this.sink !== undefined) this.sink(f.flags, offset, data);
    else this.output[f.flags].push(Buffer.from(data));
    if (this.acks) this.ack(this.next);
  }

  #wake(): void {
    for (const waiter of this.#waiters) if (waiter.test() || this.closed) waiter.resolve();
  }
}
