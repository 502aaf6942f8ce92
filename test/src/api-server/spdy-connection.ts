/** The client's side of SPDY/3.1 as Go clients of Kubernetes speak it: upgrade, streams, pings; no flow control. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { room } from '../room.ts';

const TYPE = { synStream: 1, synReply: 2, reset: 3, ping: 6, goAway: 7 } as const;
const FIN = 0x01;
const HEADER_BYTES = 8;
const CONTROL = 0x8003;
/** As Go clients do. */
const PING_MS = 5_000;
/** How long Go clients wait for the answer to a new stream. */
const REPLY_MS = 30_000;
/** The zlib header that names SPDY/3's dictionary by its Adler-32; the blocks behind it are stored and make no use of it. */
const ZLIB_HEAD = Buffer.from('78f9e3c6a7c2', 'hex');
const SYNC_FLUSH = Buffer.from('000000ffff', 'hex');
const HEAD_END = '\r\n\r\n';

/** How a stream ended: by the peer's FIN, by its RST_STREAM, or with the connection. */
export type StreamEnd = 'fin' | 'reset' | 'lost';

/** The server answered something else than 101. */
export class UpgradeRefused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class SpdyStream {
  readonly id: number;
  readonly ended: Promise<StreamEnd>;
  readonly end: () => void;
  /** False: enough is queued, `connection.drained` tells when there is room. */
  readonly write: (bytes: Uint8Array) => boolean;
  readonly #kept: Buffer[] = [];
  #onData: ((bytes: Buffer) => void) | undefined;

  constructor(id: number, ended: Promise<StreamEnd>, send: (bytes: Uint8Array, flags: number) => boolean) {
    this.id = id;
    this.ended = ended;
    this.write = (bytes) => send(bytes, 0);
    this.end = () => void send(Buffer.alloc(0), FIN);
  }

  /** Who takes what comes, and what has come before. */
  set onData(take: (bytes: Buffer) => void) {
    this.#onData = take;
    for (const bytes of this.#kept.splice(0)) take(bytes);
  }

  /** For the connection. */
  deliver(bytes: Buffer): void {
    if (this.#onData === undefined) this.#kept.push(bytes);
    else this.#onData(bytes);
  }

  /** Everything until the end. */
  async read(): Promise<Buffer> {
    const pieces: Buffer[] = [];
    this.onData = (bytes) => pieces.push(bytes);
    await this.ended;
    return Buffer.concat(pieces);
  }
}

type Open = { readonly stream: SpdyStream; readonly finish: (how: StreamEnd) => void; readonly replied: () => void };

export class SpdyConnection {
  readonly socket: Socket;
  /** Pings that the server has answered. */
  pongs = 0;
  /** GOAWAYs that the server has sent. */
  goAways = 0;
  readonly #streams = new Map<number, Open>();
  #pending: Buffer = Buffer.alloc(0);
  #nextId = 1;
  #nextPing = 1;
  #compressing = false;
  #draining: Promise<unknown> | undefined;

  private constructor(socket: Socket, rest: Buffer) {
    this.socket = socket;
    const pings = setInterval(() => this.#ping(), PING_MS).unref();
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('close', () => {
      clearInterval(pings);
      for (const { finish } of this.#streams.values()) finish('lost');
      this.#streams.clear();
    });
    if (rest.length > 0) this.#take(rest);
  }

  /** The HTTP part alone; over TLS, for `https`, `ca` is what the server's certificate must go back to. @throws UpgradeRefused */
  static async upgrade(
    url: URL,
    protocols: readonly string[],
    ca?: Uint8Array,
  ): Promise<{ readonly socket: Socket; readonly rest: Buffer }> {
    const to = { port: Number(url.port), host: url.hostname };
    const socket =
      url.protocol === 'https:' ? connectTls({ ...to, ...(ca === undefined ? {} : { ca: Buffer.from(ca) }) }) : connect(to);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    const lines = protocols.map((name) => `X-Stream-Protocol-Version: ${name}\r\n`).join('');
    socket.write(
      `POST ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n${lines}Content-Length: 0\r\n\r\n`,
    );
    let text = Buffer.alloc(0);
    while (!text.includes(HEAD_END)) {
      const [chunk] = (await Promise.race([once(socket, 'data'), once(socket, 'close').then(() => [])])) as [Buffer?];
      if (chunk === undefined) throw new UpgradeRefused(502, 'the streaming server closed without an answer');
      text = Buffer.concat([text, chunk]);
    }
    socket.pause();
    const at = text.indexOf(HEAD_END) + HEAD_END.length;
    const status = Number(text.toString('latin1', 9, 12));
    if (status === 101) return { socket, rest: text.subarray(at) };
    socket.resume();
    const body: Buffer[] = [text.subarray(at)];
    socket.on('data', (chunk: Buffer) => body.push(chunk));
    await Promise.race([once(socket, 'close'), sleep(10_000, undefined, { ref: false })]);
    socket.destroy();
    throw new UpgradeRefused(status, Buffer.concat(body).toString());
  }

  static async open(url: URL, protocols: readonly string[] = ['v4.channel.k8s.io'], ca?: Uint8Array): Promise<SpdyConnection> {
    const { socket, rest } = await SpdyConnection.upgrade(url, protocols, ca);
    const connection = new SpdyConnection(socket, rest);
    socket.resume();
    return connection;
  }

  /** Opens a stream and waits for the answer, as Go clients do. */
  async stream(headers: Readonly<Record<string, string>>): Promise<SpdyStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    const { promise: ended, resolve: finish } = Promise.withResolvers<StreamEnd>();
    const { promise: reply, resolve: replied } = Promise.withResolvers<void>();
    const stream = new SpdyStream(id, ended, (bytes, flags) => this.#data(id, bytes, flags));
    this.#streams.set(id, { stream, finish, replied });
    const fixed = Buffer.alloc(10);
    fixed.writeUInt32BE(id);
    this.#control(TYPE.synStream, Buffer.concat([fixed, this.#headerBlock(headers)]));
    const late = AbortSignal.timeout(REPLY_MS);
    const outcome = await Promise.race([reply, ended, once(late, 'abort').then(() => 'late')]);
    if (outcome === 'lost' || outcome === 'late' || outcome === 'reset') throw new Error(`no answer to a new stream: ${outcome}`);
    return stream;
  }

  /** Room again after a `write` that returned false, or the connection's end. */
  async drained(): Promise<void> {
    this.#draining ??= room(this.socket).finally(() => {
      this.#draining = undefined;
    });
    await this.#draining;
  }

  /** No more from this side; what the server still sends is read. */
  close(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  #take(chunk: Buffer): void {
    let data = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (data.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + data.readUIntBE(5, 3);
      if (data.length < end) break;
      this.#frame(data.subarray(0, HEADER_BYTES), data.subarray(HEADER_BYTES, end));
      data = data.subarray(end);
    }
    this.#pending = data;
  }

  #frame(header: Buffer, body: Buffer): void {
    const flags = header.readUInt8(4);
    if (header.readUInt16BE() !== CONTROL) {
      const id = header.readUInt32BE();
      if (body.length > 0) this.#streams.get(id)?.stream.deliver(body);
      if ((flags & FIN) !== 0) this.#finish(id, 'fin');
      return;
    }
    const type = header.readUInt16BE(2);
    if (type === TYPE.goAway) {
      this.goAways += 1;
      return;
    }
    const id = body.readUInt32BE();
    if (type === TYPE.ping) {
      if (id % 2 === 1) this.pongs += 1;
      else this.#control(TYPE.ping, body);
    } else if (type === TYPE.reset) this.#finish(id, 'reset');
    else if (type === TYPE.synReply) this.#streams.get(id)?.replied();
    else throw new Error(`the server sent a frame of type ${type}`);
    if ((flags & FIN) !== 0) this.#finish(id, 'fin');
  }

  #finish(id: number, how: StreamEnd): void {
    this.#streams.get(id)?.finish(how);
    this.#streams.delete(id);
  }

  #data(id: number, bytes: Uint8Array, flags: number): boolean {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(id);
    header.writeUInt8(flags, 4);
    header.writeUIntBE(bytes.length, 5, 3);
    if (this.socket.destroyed || this.socket.writableEnded) return true;
    this.socket.cork();
    this.socket.write(header);
    const room = bytes.length === 0 || this.socket.write(bytes);
    this.socket.uncork();
    return room;
  }

  #control(type: number, body: Buffer): void {
    const frame = Buffer.alloc(HEADER_BYTES + body.length);
    frame.writeUInt16BE(CONTROL);
    frame.writeUInt16BE(type, 2);
    frame.writeUIntBE(body.length, 5, 3);
    body.copy(frame, HEADER_BYTES);
    if (!this.socket.destroyed && !this.socket.writableEnded) this.socket.write(frame);
  }

  #ping(): void {
    const id = Buffer.alloc(4);
    id.writeUInt32BE(this.#nextPing);
    this.#nextPing += 2;
    this.#control(TYPE.ping, id);
  }

  #headerBlock(headers: Readonly<Record<string, string>>): Buffer {
    const words = Object.entries(headers).flat();
    const count = Buffer.alloc(4);
    count.writeUInt32BE(words.length / 2);
    const sized = words.flatMap((word) => {
      const size = Buffer.alloc(4);
      size.writeUInt32BE(Buffer.byteLength(word));
      return [size, Buffer.from(word)];
    });
    const plain = Buffer.concat([count, ...sized]);
    const stored = Buffer.alloc(5);
    stored.writeUInt16LE(plain.length, 1);
    stored.writeUInt16LE(0xffff - plain.length, 3);
    const head = this.#compressing ? [] : [ZLIB_HEAD];
    this.#compressing = true;
    return Buffer.concat([...head, stored, plain, SYNC_FLUSH]);
  }
}
