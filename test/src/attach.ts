/** A bare attach client over WebSocket that counts: every byte of every channel, its SHA-256, the status, the way it closed. */
import { createHash, type Hash } from 'node:crypto';
import { CHANNEL, decodeStatus, subprotocolByName, type WireStatus } from '@berth/attach-protocol';
import { WebSocket } from 'ws';
import { eventually } from './processes.ts';

/** How much of each channel a client keeps to look at; beyond this it only counts and hashes. */
const KEPT_BYTES = 4 * 1024 * 1024;
/** A client that sends waits while more than this is on its way, bytes. */
const SEND_AHEAD_BYTES = 4 * 1024 * 1024;

/** Counts and hashes what comes on one channel. */
export class Channel {
  bytes = 0;
  readonly #hash: Hash = createHash('sha256');
  readonly #kept: Buffer[] = [];
  #keptBytes = 0;

  take(data: Buffer): void {
    this.bytes += data.length;
    this.#hash.update(data);
    if (this.#keptBytes >= KEPT_BYTES) return;
    this.#kept.push(Buffer.from(data));
    this.#keptBytes += data.length;
  }

  /** Of everything that has come so far. */
  sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  /** What has come, up to the first few MiB. */
  text(): string {
    return Buffer.concat(this.#kept).toString('latin1');
  }
}

export type AttachClientOptions = {
  readonly protocol?: string;
  readonly from?: 'start';
  /** For `https` URLs: what the server's certificate must go back to. */
  readonly ca?: Buffer;
};

/** One attach session seen from the client. */
export class AttachClient implements Disposable {
  readonly stdout = new Channel();
  readonly stderr = new Channel();
  /** The status that came before the end, if one came. */
  status: WireStatus | undefined;
  /** How the connection was closed. */
  closed: { readonly code: number; readonly reason: string } | undefined;
  /** Messages for channels that nobody asked for, empty messages and the like. */
  readonly faults: string[] = [];
  readonly #socket: WebSocket;
  #statusSeen = false;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      if (data.length === 0) this.faults.push('a message of 0 bytes');
      else if (this.#statusSeen) this.faults.push(`a message on channel ${data[0]} after the status`);
      const payload = data.subarray(1);
      if (data[0] === CHANNEL.stdout) this.stdout.take(payload);
      else if (data[0] === CHANNEL.stderr) this.stderr.take(payload);
      else if (data[0] === CHANNEL.status) {
        const protocol = subprotocolByName(socket.protocol);
        if (protocol !== undefined) this.status = decodeStatus(protocol, payload) ?? this.status;
        this.#statusSeen = payload.length > 0;
      } else this.faults.push(`a message on channel ${data[0]}`);
    });
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    socket.on('error', (error) => this.faults.push(error.message));
  }

  /** Connects to an attach URL; v5 by default. */
  static async open(url: string, options: AttachClientOptions = {}): Promise<AttachClient> {
    const target = options.from === undefined ? url : `${url}?from=${options.from}`;
    const socket = new WebSocket(target.replace(/^http/, 'ws'), options.protocol ?? 'v5.channel.k8s.io', {
      perMessageDeflate: false,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    });
    const client = new AttachClient(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
      socket.once('unexpected-response', (_, response) => reject(new Error(`HTTP ${response.statusCode}`)));
    });
    return client;
  }

  /** The subprotocol that was agreed on. */
  get protocol(): string {
    return this.#socket.protocol;
  }

  /** Bytes that have been given to the socket and not to the kernel. */
  get queued(): number {
    return this.#socket.bufferedAmount;
  }

  /** Sends stdin; waits while too much is on its way. */
  async send(data: string | Uint8Array): Promise<void> {
    this.#socket.send(message(CHANNEL.stdin, typeof data === 'string' ? Buffer.from(data) : data));
    while (this.queued > SEND_AHEAD_BYTES && this.closed === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** Sends a message as it is. */
  raw(data: string | Uint8Array): void {
    this.#socket.send(data);
  }

  closeStdin(): void {
    this.#socket.send(Buffer.from([CHANNEL.close, CHANNEL.stdin]));
  }

  resize(columns: number, rows: number): void {
    this.#socket.send(message(CHANNEL.resize, Buffer.from(JSON.stringify({ Width: columns, Height: rows }))));
  }

  /** Stops reading, as a client that has been stopped. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Waits until stdout matches. */
  async sees(pattern: RegExp, timeoutMs = 30_000): Promise<string> {
    return await eventually(
      () => `stdout matches ${pattern}; it is ${JSON.stringify(this.stdout.text().slice(-500))}`,
      () => {
        const text = this.stdout.text();
        if (pattern.test(text)) return text === '' ? ' ' : text;
        if (this.closed !== undefined)
          throw new Error(`closed before stdout matched ${pattern}: ${JSON.stringify(text.slice(-500))}`);
        return undefined;
      },
      timeoutMs,
    );
  }

  /** Waits for the end of the session; gives the status. */
  async ended(timeoutMs = 120_000): Promise<WireStatus | undefined> {
    await eventually('the session ends', () => this.closed !== undefined, timeoutMs);
    return this.status;
  }

  async ping(): Promise<number> {
    const start = performance.now();
    await new Promise((resolve) => {
      this.#socket.once('pong', resolve);
      this.#socket.ping();
    });
    return performance.now() - start;
  }

  /** Drops the connection without a word. */
  kill(): void {
    this.#socket.terminate();
  }

  /** Closes as a client that has had enough. */
  close(): void {
    this.#socket.close(1000);
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }
}

function message(channel: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(payload.length + 1);
  bytes[0] = channel;
  bytes.set(payload, 1);
  return bytes;
}
