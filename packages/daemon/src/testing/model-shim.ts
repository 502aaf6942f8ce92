/** A model of a shim for tests: real log file, real rotation, a small ring, lateness on demand. Simple where the C is fast. */
import { closeSync, fstatSync, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs';
import { type Location, type ShimIo, type ShimListener, ShimLost } from '../stdio/shim.ts';
import { exitRecord } from './exit-record.ts';

type Piece = { readonly stream: 1 | 2; readonly offset: number; readonly data: Buffer };
type Segment = { first: number; end: number; inode: bigint; device: bigint; records: { offset: number; position: number }[] };

/** What the listener was given, until it is spoilt. */
type Given = { readonly from: number; readonly to: number; readonly data: Buffer };

const TIME = '2026-01-01T00:00:00.000000000Z';
const SPOILT = 0xee;
/** Pieces that are held, oldest first, until the rest is taken for held as well: single bytes are many. */
const LOOKED_AT = 64;
const MAX_CONTENT = 16 * 1024;

export class ModelShim implements ShimIo {
  readonly stdinCredit = 0;
  readonly stdinOpen = false;
  readonly pieces: Piece[] = [];
  next = 0;
  readonly #ringBytes: number;
  readonly #logPath: string | undefined;
  readonly #segments: Segment[] = [];
  #fd = -1;
  #position = 0;
  #rotations = 0;
  #partial: { stream: 1 | 2; data: Buffer } | undefined;
  #logged = 0;
  #listener: ShimListener | undefined;
  #from: number | undefined;
  #window = 0;
  #given: Given[] = [];
  #acked = 0;
  #gone = false;
  readonly #holds: Promise<unknown>[] = [];
  readonly #left = Promise.withResolvers<void>();
  /** True: the daemon does not take anything. */
  late = false;

  constructor(logPath: string | undefined, ringBytes: number) {
    this.#logPath = logPath;
    this.#ringBytes = ringBytes;
    if (logPath !== undefined) this.#openLog();
  }

  /** Bytes that may be written before a subscriber of a container without a log is waited for. */
  get room(): number {
    return this.#from === undefined ? Number.MAX_SAFE_INTEGER : this.#acked + this.#window - this.next;
  }

  write(stream: 1 | 2, data: Buffer): void {
    this.pieces.push({ stream, offset: this.next, data });
    this.next += data.length;
    if (this.#logPath !== undefined) this.#append(stream, data);
    this.pump();
  }

  pump(): void {
    if (this.late) return;
    while (this.#from !== undefined && this.#from < this.next && this.#from < this.#acked + this.#window) {
      const first = this.#ringFirst();
      if (this.#from < first) {
        this.#listener?.gap(this.#from, first);
        this.#from = first;
        continue;
      }
      const piece = this.#pieceAt(this.#from);
      const data = Buffer.from(piece.data.subarray(this.#from - piece.offset));
      const at = this.#from;
      this.#from += data.length;
      this.#given.push({ from: at, to: this.#from, data });
      this.#listener?.output(piece.stream, at, data);
      this.#spoil();
    }
  }

  /** As the real one, which uses memory again: whoever looks at output too late sees something else. */
  #spoil(): void {
    let [at, held] = [0, 0];
    while (at < this.#given.length && held < LOOKED_AT) {
      const { from, to, data } = this.#given[at] as Given;
      if (this.#listener?.holds?.(from, to) ?? true) {
        at += 1;
        held += 1;
      } else {
        data.fill(SPOILT);
        this.#given.splice(at, 1);
      }
    }
  }

  forgetOutput(): void {
    this.#given = [];
  }

  rotate(): void {
    if (this.#logPath === undefined) return;
    this.#flush();
    this.#rotations += 1;
    renameSync(this.#logPath, `${this.#logPath}.${this.#rotations}`);
    closeSync(this.#fd);
    this.#openLog();
  }

  /** The container has ended: it says so, and leaves as soon as nobody holds it back. */
  exit(): void {
    if (this.#logPath !== undefined) this.#flush();
    this.#listener?.exit(exitRecord(0, { offset: BigInt(this.next) }));
    void Promise.allSettled(this.#holds).then(() => {
      this.#gone = true;
      this.#left.resolve();
    });
  }

  /** Resolves when it has left. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  listen(listener: ShimListener | undefined): void {
    this.#listener = listener;
  }

  subscribe(from: number, window: number): void {
    this.#from = from;
    this.#acked = from;
    this.#window = window;
    this.pump();
  }

  unsubscribe(): void {
    this.#from = undefined;
  }

  ack(offset: number): void {
    this.#acked = Math.max(this.#acked, offset);
    // As over a socket: what the acknowledgement makes possible comes later, not inside the call.
    queueMicrotask(() => this.pump());
  }

  async locate(offset: number | undefined): Promise<Location> {
    await this.#asked();
    const ring: Location = { kind: 'ring', first: this.#ringFirst(), end: this.next };
    if (offset === undefined || offset >= this.#logged) return ring;
    const segment = this.#segments.find((one) => offset >= one.first && offset < one.end);
    if (segment === undefined)
      return { kind: 'lost', first: offset, end: this.#segments.find((one) => one.first > offset)?.first ?? this.#logged };
    const record = segment.records.findLast((one) => one.offset <= offset);
    if (record === undefined) throw new Error('the model has lost a record');
    return {
      kind: 'log',
      first: record.offset,
      end: segment.end,
      inode: segment.inode,
      device: segment.device,
      position: record.position,
    };
  }

  async flush(): Promise<void> {
    await this.#asked();
    this.#flush();
  }

  async #asked(): Promise<void> {
    if (this.#gone) throw new ShimLost('the connection to the shim has ended');
    await Promise.resolve();
  }

  stdin(): void {}
  closeStdin(): void {}
  resize(): void {}

  holdLeave(until: Promise<unknown>): void {
    this.#holds.push(until);
  }

  async stdinState(): Promise<{ queued: number; unread: number; state: 'none' }> {
    return await Promise.resolve({ queued: 0, unread: 0, state: 'none' });
  }

  close(): void {
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
  }

  #pieceAt(offset: number): Piece {
    const piece = this.pieces.findLast((one) => one.offset <= offset);
    if (piece === undefined) throw new Error(`the model has nothing at ${offset}`);
    return piece;
  }

  /** The ring holds whole pieces, and always the newest. */
  #ringFirst(): number {
    let first = this.next;
    for (let i = this.pieces.length - 1; i >= 0; i--) {
      const piece = this.pieces[i];
      if (piece === undefined || (this.next - piece.offset > this.#ringBytes && first !== this.next)) break;
      first = piece.offset;
    }
    return first;
  }

  #openLog(): void {
    this.#fd = openSync(this.#logPath ?? '', 'a', 0o600);
    const stat = fstatSync(this.#fd, { bigint: true });
    this.#position = 0;
    this.#segments.push({ first: this.#logged, end: this.#logged, inode: stat.ino, device: stat.dev, records: [] });
    ftruncateSync(this.#fd, 0);
  }

  #append(stream: 1 | 2, data: Buffer): void {
    if (this.#partial !== undefined && this.#partial.stream !== stream) this.#flush();
    let rest = Buffer.concat([this.#partial?.data ?? Buffer.alloc(0), data]);
    this.#partial = undefined;
    for (;;) {
      const newline = rest.indexOf(10);
      if (newline !== -1 && newline <= MAX_CONTENT) {
        this.#record(stream, 'F', rest.subarray(0, newline));
        rest = rest.subarray(newline + 1);
      } else if (rest.length >= MAX_CONTENT) {
        this.#record(stream, 'P', rest.subarray(0, MAX_CONTENT));
        rest = rest.subarray(MAX_CONTENT);
      } else break;
    }
    if (rest.length > 0) this.#partial = { stream, data: Buffer.from(rest) };
  }

  #flush(): void {
    const partial = this.#partial;
    this.#partial = undefined;
    if (partial !== undefined) this.#record(partial.stream, 'P', partial.data);
  }

  #record(stream: 1 | 2, tag: 'P' | 'F', content: Buffer): void {
    const line = Buffer.concat([Buffer.from(`${TIME} ${stream === 1 ? 'stdout' : 'stderr'} ${tag} `), content, Buffer.from('\n')]);
    const segment = this.#segments.at(-1);
    if (segment === undefined) throw new Error('the model has no log');
    segment.records.push({ offset: this.#logged, position: this.#position });
    writeSync(this.#fd, line);
    this.#position += line.length;
    this.#logged += content.length + (tag === 'F' ? 1 : 0);
    segment.end = this.#logged;
  }
}
