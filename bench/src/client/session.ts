/** One attach session of the load generator: WebSocket `v4.channel.k8s.io` over a bare socket, so that the client is not what is measured. */
import { createConnection, type Socket } from 'node:net';
import { CHANNEL } from '@berth/attach-protocol';
import { close, message, pong } from './frame-writer.ts';
import { FrameReader } from './frame-reader.ts';

/** All sessions read into this one buffer: what arrives is looked at before the next read. */
const shared = Buffer.alloc(256 * 1024);
/** A handshake is answered in a few hundred bytes. */
const MAX_HEAD_BYTES = 16 * 1024;
/** The key need not be random: nothing is between the two programs. */
const KEY = 'YmVydGgtYmVuY2htYXJrIQ==';
const END_OF_HEAD = '\r\n\r\n';

export type OutputListener = (piece: Buffer, channel: number) => void;

const nothing = (): void => {};

/** An open session. Output goes to `onOutput`; pieces are valid only during the call. */
export class Session implements Disposable {
  /** Called with what comes on stdout and stderr. */
  onOutput: OutputListener = nothing;
  /** Bytes of output so far. */
  received = 0;
  /** What the server said at the end, if it has. */
  status = '';
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #opened = Promise.withResolvers<void>();
  #head: string | undefined = '';

  private constructor(url: URL) {
    const done = Promise.withResolvers<void>();
    this.closed = done.promise;
    this.#reader = new FrameReader({
      data: (channel, piece) => this.#data(channel, piece),
      ping: (payload) => this.#socket.write(pong(payload)),
      close: () => this.#socket.end(close()),
    });
    this.#socket = createConnection({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port),
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (bytes) => {
          this.#read(shared.subarray(0, bytes));
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
      `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n`,
    );
  }

  /** Connects and waits for the 101. @throws Error with the server's answer */
  static async open(url: string): Promise<Session> {
    const session = new Session(new URL(url));
    await session.#opened.promise;
    return session;
  }

  /** Sends to the container's stdin. False: wait for `drained` before the next one. */
  write(data: Uint8Array): boolean {
    return this.#socket.write(message(CHANNEL.stdin, data));
  }

  /** Sends frames made beforehand. */
  writeFrames(frames: Buffer): boolean {
    return this.#socket.write(frames);
  }

  async drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once('drain', resolve);
    await Promise.race([promise, this.closed]);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Goes away without a word, as most clients do. */
  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    try {
      const rest = this.#head === undefined ? chunk : this.#readHead(chunk);
      if (rest !== undefined && rest.length > 0) this.#reader.push(rest);
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #readHead(chunk: Buffer): Buffer | undefined {
    const before = this.#head?.length ?? 0;
    const head = `${this.#head}${chunk.toString('latin1')}`;
    this.#head = head;
    const end = head.indexOf(END_OF_HEAD);
    if (end < 0) {
      if (head.length > MAX_HEAD_BYTES) throw new Error('an answer without an end');
      return undefined;
    }
    if (!head.startsWith('HTTP/1.1 101')) throw new Error(`the server answered ${head.slice(0, head.indexOf('\r\n'))}`);
    this.#head = undefined;
    this.#opened.resolve();
    return chunk.subarray(end + END_OF_HEAD.length - before);
  }

  #data(channel: number, piece: Buffer): void {
    if (channel === CHANNEL.status) {
      this.status += piece.toString();
    } else if (piece.length > 0) {
      this.received += piece.length;
      this.onOutput(piece, channel);
    }
  }
}
