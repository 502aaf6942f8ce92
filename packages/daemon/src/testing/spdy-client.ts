/** A SPDY client for tests: as Go's, it opens streams, waits for each answer, pings; unlike it, it also does what no client should. */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { constants, deflateRawSync } from 'node:zlib';
import { FRAME_TYPE } from '../transport/spdy/constants.ts';
import { DICTIONARY, DICTIONARY_ID } from '../transport/spdy/dictionary.ts';
import { FrameParser } from '../transport/spdy/frame-parser.ts';
import { controlFrame, dataHead, goAway, ping, rstStream } from '../transport/spdy/frames.ts';
import { type SpdyClientOptions, socketWire, tunnelWire, type Wire, type WireEvents } from './spdy-wire.ts';

/** Compresses header blocks with real deflate blocks, as one zlib stream with the dictionary. */
export class TestHeaderEncoder {
  #window: Buffer | undefined;

  encode(headers: Readonly<Record<string, string>>): Buffer {
    const parts: Buffer[] = [word(Object.keys(headers).length)];
    for (const text of Object.entries(headers).flat()) parts.push(word(text.length), Buffer.from(text, 'latin1'));
    return this.compress(Buffer.concat(parts));
  }

  compress(text: Buffer): Buffer {
    const head = this.#window === undefined ? Buffer.concat([Buffer.of(0x78, 0xbb), word(DICTIONARY_ID)]) : Buffer.alloc(0);
    const window = this.#window ?? DICTIONARY;
    const body = deflateRawSync(text, { dictionary: window, finishFlush: constants.Z_SYNC_FLUSH });
    this.#window = Buffer.concat([window, text]).subarray(-32 * 1024);
    return Buffer.concat([head, body]);
  }
}

export const synStream = (id: number, block: Buffer, flags = 0): Buffer =>
  controlFrame(FRAME_TYPE.synStream, flags, [id, 0], Buffer.concat([Buffer.of(0, 0), block]));

/** One stream as the client sees it. */
export class ClientStream {
  readonly id: number;
  readonly #client: SpdyClient;
  readonly #hash = createHash('sha256');
  readonly #kept: Buffer[] = [];
  readonly #answer = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<void>();
  readonly #reset = Promise.withResolvers<number>();
  /** Data frames of the server, and bytes in them. */
  frames = 0;
  bytes = 0;
  /** Largest frame. */
  largest = 0;
  isEnded = false;
  isReset = false;

  constructor(id: number, client: SpdyClient) {
    this.id = id;
    this.#client = client;
    this.#answer.promise.catch(() => undefined);
  }

  /** Resolves with the server's SYN_REPLY, rejects when there is none. */
  get answered(): Promise<void> {
    return this.#answer.promise;
  }

  /** Resolves with the server's FIN. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  /** Resolves with the status of the server's RST. */
  get reset(): Promise<number> {
    return this.#reset.promise;
  }

  /** What came, up to the first MiB. */
  get text(): string {
    return Buffer.concat(this.#kept).toString('latin1');
  }

  get sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Sends data in one frame. */
  write(data: Uint8Array | string): void {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    this.#client.send(dataHead(this.id, bytes.length), bytes);
  }

  /** The same, and waits for room. */
  async writeSlowly(data: Uint8Array): Promise<void> {
    this.write(data);
    await this.#client.room();
  }

  end(): void {
    this.#client.send(dataHead(this.id, 0, true));
  }

  cancel(): void {
    this.#client.send(rstStream(this.id, 5));
  }

  received(piece: Buffer): void {
    this.bytes += piece.length;
    this.#hash.update(piece);
    if (this.bytes <= 1024 * 1024) this.#kept.push(Buffer.from(piece));
  }

  receivedAnswer(): void {
    this.#answer.resolve();
  }

  receivedEnd(): void {
    this.isEnded = true;
    this.#end.resolve();
  }

  receivedReset(status: number): void {
    this.isReset = true;
    this.#answer.reject(new Error(`reset with ${status}`));
    this.#reset.resolve(status);
  }
}

export class SpdyClient {
  readonly #encoder = new TestHeaderEncoder();
  readonly #streams = new Map<number, ClientStream>();
  readonly #parser: FrameParser;
  readonly #closed = Promise.withResolvers<string>();
  readonly #pings = new Map<number, () => void>();
  #wire: Wire | undefined;
  #nextId = 1;
  #nextPing = 1;
  #roomy = true;
  #hasEnded = false;
  #sizes: number | undefined;
  /** The response's head. */
  head = '';
  /** Names of the control frames that came, in order, and of what no server should send. */
  readonly frames: string[] = [];
  goneAway: number | undefined;
  /** Bytes that came behind the head. */
  bytes = 0;
  /** Called for every read. */
  onRead: (bytes: number) => void = () => undefined;

  constructor() {
    this.#parser = new FrameParser({
      synStream: ({ id }) => this.frames.push(`SYN_STREAM ${id}`),
      headers: ({ id }) => {
        this.frames.push(`SYN_REPLY ${id}`);
        this.#streams.get(id)?.receivedAnswer();
      },
      rstStream: (id, status) => {
        this.frames.push(`RST_STREAM ${id} ${status}`);
        this.#streams.get(id)?.receivedReset(status);
      },
      ping: (id) => {
        this.frames.push(`PING ${id}`);
        this.#pings.get(id)?.();
        this.#pings.delete(id);
      },
      goAway: (last, status) => {
        this.frames.push(`GOAWAY ${last} ${status}`);
        this.goneAway = status;
        this.#leave();
      },
      data: (id, piece) => this.#streams.get(id)?.received(piece),
      fin: (id) => this.#streams.get(id)?.receivedEnd(),
      failed: (reason) => this.frames.push(`broken: ${reason}`),
    });
  }

  /** @throws Error with the response's head when it is no 101 */
  static async connect(url: string, options: SpdyClientOptions = {}): Promise<SpdyClient> {
    const client = new SpdyClient();
    const events: WireEvents = {
      data: (chunk) => client.#read(chunk),
      closed: (how) => client.#closed.resolve(how),
      odd: (opcode, payload) => client.frames.push(`WebSocket ${opcode} ${payload.toString('hex')}`),
    };
    const { wire, head } = await (options.tunnel === true ? tunnelWire : socketWire)(url, events, options);
    client.#wire = wire;
    client.head = head;
    return client;
  }

  /** Resolves when the server has closed, with how: `FIN`, `ECONNRESET`, a WebSocket close code. */
  get closed(): Promise<string> {
    return this.#closed.promise;
  }

  /** Opens a stream and waits for the answer. */
  async open(headers: Readonly<Record<string, string>>, flags = 0): Promise<ClientStream> {
    const stream = this.begin(headers, flags);
    await stream.answered;
    return stream;
  }

  /** Opens a stream. */
  begin(headers: Readonly<Record<string, string>>, flags = 0): ClientStream {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new ClientStream(id, this);
    this.#streams.set(id, stream);
    if (headers['streamtype'] === 'resize') this.#sizes = id;
    this.send(synStream(id, this.#encoder.encode(headers), flags));
    return stream;
  }

  /** Opens streams of a session one after the other, as Go's client. */
  async openSession<Kind extends string>(...kinds: Kind[]): Promise<Record<Kind, ClientStream>> {
    const streams: Partial<Record<Kind, ClientStream>> = {};
    for (const kind of kinds) streams[kind] = await this.open({ streamtype: kind });
    return streams as Record<Kind, ClientStream>;
  }

  /** Opens the pair of a forwarded connection, as Go's client. */
  async forward(port: number, requestId: number | undefined = this.#nextId): Promise<{ error: ClientStream; data: ClientStream }> {
    const headers = { port: String(port), ...(requestId === undefined ? {} : { requestid: String(requestId) }) };
    const error = await this.open({ streamtype: 'error', ...headers });
    error.end();
    const data = await this.open({ streamtype: 'data', ...headers });
    return { error, data };
  }

  /** Sends a ping and waits for its answer. */
  async ping(): Promise<void> {
    const id = this.#nextPing;
    this.#nextPing += 2;
    await new Promise<void>((resolve) => {
      this.#pings.set(id, resolve);
      this.send(ping(id));
    });
  }

  goAway(): void {
    this.send(goAway(0, 0));
  }

  /** In a tunnel, each part is a message. Nothing more goes once the client has ended. */
  send(...parts: Uint8Array[]): void {
    if (this.#hasEnded) return;
    for (const part of parts) this.#roomy = this.#wire?.send(part) ?? true;
  }

  /** Waits while much is queued. */
  async room(): Promise<void> {
    if (!this.#roomy) await this.#wire?.drained();
    this.#roomy = true;
  }

  /** Bytes that have not been given to the kernel. */
  get queued(): number {
    return this.#wire?.queued() ?? 0;
  }

  pause(): void {
    this.#wire?.pause();
  }

  resume(): void {
    this.#wire?.resume();
  }

  end(): void {
    if (!this.#hasEnded) this.#wire?.end();
    this.#hasEnded = true;
  }

  destroy(): void {
    this.#wire?.destroy();
  }

  /** Go's clients close once all of their streams have ended but the one for sizes; a server that has said so waits for that. */
  #leave(): void {
    const streams = [...this.#streams.values()].filter(({ id }) => id !== this.#sizes);
    if (streams.length > 0 && streams.every(({ isEnded, isReset }) => isEnded || isReset)) this.end();
  }

  #read(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#parser.push(chunk);
    this.onRead(chunk.length);
  }
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
