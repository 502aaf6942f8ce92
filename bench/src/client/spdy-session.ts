/** One attach session of the load generator over SPDY/3.1, `v4.channel.k8s.io`: as little as it takes, so that the client is not what is measured. */
import { createConnection, type Socket } from 'node:net';
import { CHANNEL } from '@berth/attach-protocol';
import type { OutputListener } from './session.ts';

/** What arrives is looked at before the next read; one buffer serves all sessions. */
const shared = Buffer.alloc(256 * 1024);
const HEAD_BYTES = 8;
const CONTROL_BIT = 0x8000;
const SPDY_VERSION = 3;
const SYN_STREAM = 1;
const FLAG_FIN = 1;
const END_OF_HEAD = '\r\n\r\n';
/** zlib's header for a stream with SPDY's dictionary, of which nothing is used: blocks are stored as they are. */
const ZLIB_HEAD = Buffer.from('78f9e3c6a7c2', 'hex');
const SYNC_FLUSH = Buffer.from('000000ffff', 'hex');

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** A header block of one pair, as a stored deflate block. */
const headerBlock = (name: string, value: string, first: boolean): Buffer => {
  const text = Buffer.concat([word(1), word(name.length), Buffer.from(name), word(value.length), Buffer.from(value)]);
  const stored = Buffer.alloc(5);
  stored.writeUInt16LE(text.length, 1);
  stored.writeUInt16LE(~text.length & 0xffff, 3);
  return Buffer.concat([...(first ? [ZLIB_HEAD] : []), stored, text, SYNC_FLUSH]);
};

const frameHead = (high: number, low: number, flags: number, length: number): Buffer => {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(high, 0);
  head.writeUInt16BE(low, 2);
  head.writeUInt32BE(length, 4);
  head[4] = flags;
  return head;
};

const synStream = (id: number, type: string): Buffer => {
  const block = headerBlock('streamtype', type, id === 1);
  const payload = Buffer.concat([word(id), word(0), Buffer.alloc(2), block]);
  return Buffer.concat([frameHead(CONTROL_BIT | SPDY_VERSION, SYN_STREAM, 0, payload.length), payload]);
};

/** A data frame. */
export const dataFrame = (id: number, data: Uint8Array): Buffer => Buffer.concat([frameHead(0, id, 0, data.length), data]);

/** An open session with the streams error (1), stdout (3) and, if asked for, stdin (5). */
export class SpdySession implements Disposable {
  static readonly STDIN = 5;
  static readonly #STDOUT = 3;
  /** Bytes of stdout so far. */
  received = 0;
  /** Called with what comes on stdout. */
  onOutput: OutputListener = () => {};
  status = '';
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #opened = Promise.withResolvers<void>();
  #head: string | undefined = '';
  #frame = Buffer.alloc(HEAD_BYTES);
  #have = 0;
  #left = 0;

  private constructor(url: URL, stdin: boolean) {
    const done = Promise.withResolvers<void>();
    this.closed = done.promise;
    this.#socket = createConnection({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port),
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (bytes) => {
          this.#read(shared.subarray(0, bytes), stdin);
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => this.#opened.reject(error));
    this.#socket.once('close', () => {
      this.#opened.reject(new Error('the connection was closed'));
      done.resolve();
    });
    this.#socket.write(
      `POST ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n` +
        'X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n',
    );
  }

  /** Connects, waits for the 101 and opens the streams. @throws Error with the server's answer */
  static async open(url: string, stdin: boolean): Promise<SpdySession> {
    const session = new SpdySession(new URL(url), stdin);
    await session.#opened.promise;
    return session;
  }

  /** Sends frames made beforehand; false: wait for `drained`. */
  writeFrames(frames: Buffer): boolean {
    return this.#socket.write(frames);
  }

  async drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once('drain', resolve);
    await Promise.race([promise, this.closed]);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer, stdin: boolean): void {
    let rest = chunk;
    if (this.#head !== undefined) {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf(END_OF_HEAD);
      if (end < 0) return;
      if (!this.#head.startsWith('HTTP/1.1 101')) return void this.#socket.destroy(new Error(this.#head.split('\r\n', 1)[0]));
      rest = chunk.subarray(chunk.length - (this.#head.length - end - END_OF_HEAD.length));
      this.#head = undefined;
      const types = ['error', 'stdout', ...(stdin ? ['stdin'] : [])];
      this.#socket.write(Buffer.concat(types.map((type, index) => synStream(index * 2 + 1, type))));
      this.#opened.resolve();
    }
    this.#frames(rest);
  }

  #frames(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#left > 0) {
        const take = Math.min(this.#left, bytes.length - at);
        this.#data(bytes.subarray(at, at + take));
        this.#left -= take;
        at += take;
        continue;
      }
      const take = Math.min(HEAD_BYTES - this.#have, bytes.length - at);
      bytes.copy(this.#frame, this.#have, at, at + take);
      this.#have += take;
      at += take;
      if (this.#have < HEAD_BYTES) break;
      this.#have = 0;
      this.#left = this.#frame.readUIntBE(5, 3);
      if (this.#stream === 1 && (this.#frame[4] ?? 0) & FLAG_FIN && this.#left === 0) this.#socket.end();
    }
  }

  /** Of the frame under way; 0 for a control frame. */
  get #stream(): number {
    return this.#frame.readUInt16BE(0) & CONTROL_BIT ? 0 : this.#frame.readUInt32BE(0);
  }

  #data(piece: Buffer): void {
    const stream = this.#stream;
    if (stream === SpdySession.#STDOUT) {
      this.received += piece.length;
      this.onOutput(piece, CHANNEL.stdout);
    }
    if (stream === 1) this.status += piece.toString();
  }
}
