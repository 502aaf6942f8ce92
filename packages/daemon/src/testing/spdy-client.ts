/** A SPDY client for tests: as Go's, it opens streams, waits for each answer, pings; unlike it, it also does what no client should. */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { constants, deflateRawSync } from 'node:zlib';
import { FRAME_TYPE } from '../transport/spdy/constants.ts';
import { DICTIONARY, DICTIONARY_ID } from '../transport/spdy/dictionary.ts';
import { FrameParser } from '../transport/spdy/frame-parser.ts';
import { controlFrame, dataHead, goAway, ping, rstStream } from '../transport/spdy/frames.ts';

/** What carries a client's bytes. */
type Wire = {
  /** False: wait for `drained`. */
  send(bytes: Uint8Array): boolean;
  drained(): Promise<unknown>;
  pause(): void;
  resume(): void;
  end(): void;
  destroy(): void;
};

type WireEvents = {
  data(chunk: Buffer): void;
  closed(how: string): void;
  /** A WebSocket frame that is neither binary nor close. */
  odd(opcode: number, payload: Buffer): void;
};

type Opened = { readonly wire: Wire; readonly head: string };

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

export type SpdyClientOptions = {
  readonly protocols?: readonly string[];
  readonly method?: string;
  /** Over a WebSocket instead of a connection of its own. */
  readonly tunnel?: boolean;
};

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

  /** In a tunnel, each part is a message. */
  send(...parts: Uint8Array[]): void {
    for (const part of parts) this.#roomy = this.#wire?.send(part) ?? true;
  }

  /** Waits while much is queued. */
  async room(): Promise<void> {
    if (!this.#roomy) await this.#wire?.drained();
    this.#roomy = true;
  }

  pause(): void {
    this.#wire?.pause();
  }

  resume(): void {
    this.#wire?.resume();
  }

  end(): void {
    this.#wire?.end();
  }

  destroy(): void {
    this.#wire?.destroy();
  }

  #read(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#parser.push(chunk);
    this.onRead(chunk.length);
  }
}

async function socketWire(url: string, events: WireEvents, options: SpdyClientOptions): Promise<Opened> {
  const { socket, head } = await upgrade(url, (path, host) => [
    `${options.method ?? 'POST'} ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: Upgrade',
    'Upgrade: SPDY/3.1',
    'Content-Length: 0',
    ...(options.protocols ?? ['v5.channel.k8s.io', 'v4.channel.k8s.io']).map((name) => `X-Stream-Protocol-Version: ${name}`),
  ]);
  socket.on('data', (chunk: Buffer) => events.data(chunk));
  const send = (bytes: Uint8Array): boolean => socket.write(bytes);
  return { wire: { ...wireOf(socket, events), send, end: () => void socket.end() }, head };
}

/** Not by the library `ws`: it finds the subprotocol's name malformed, for its slash. */
async function tunnelWire(url: string, events: WireEvents, options: SpdyClientOptions): Promise<Opened> {
  const { socket, head } = await upgrade(url, (path, host) => [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Sec-WebSocket-Protocol: ${(options.protocols ?? ['SPDY/3.1+portforward.k8s.io']).join(', ')}`,
  ]);
  let pending: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    for (let frame = serverFrame(pending); frame !== undefined; frame = serverFrame(pending)) {
      pending = pending.subarray(frame.end);
      if (frame.opcode === 2) events.data(frame.payload);
      else if (frame.opcode === 8) events.closed(String(frame.payload.readUInt16BE()));
      else events.odd(frame.opcode, frame.payload);
    }
  });
  const end = (): void => void socket.end(maskedFrame(8, Buffer.of(0x03, 0xe8)));
  return { wire: { ...wireOf(socket, events), send: (bytes) => socket.write(maskedFrame(2, bytes)), end }, head };
}

/** Masked with zeros, which costs nothing. */
function maskedFrame(opcode: number, payload: Uint8Array): Buffer {
  const small = payload.length < 126;
  const head = Buffer.alloc(small ? 6 : 14);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | (small ? payload.length : 127);
  if (!small) head.writeUInt32BE(payload.length, 6);
  return Buffer.concat([head, payload]);
}

/** The first frame of a server's bytes, once it is whole. */
function serverFrame(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] as number;
  const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < headBytes) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : bytes.readUInt32BE(6);
  const end = headBytes + length;
  if (bytes.length < end) return undefined;
  return { opcode: (bytes[0] as number) & 0x0f, payload: bytes.subarray(headBytes, end), end };
}

async function upgrade(url: string, request: (path: string, host: string) => string[]): Promise<{ socket: Socket; head: string }> {
  const { pathname, search, host, hostname, port } = new URL(url);
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.write(`${request(pathname + search, host).join('\r\n')}\r\n\r\n`);
  const head = await readHead(socket);
  if (head.startsWith('HTTP/1.1 101')) return { socket, head };
  socket.destroy();
  throw new Error(head);
}

/** Byte by byte until the empty line, so that what comes behind it stays. */
async function readHead(socket: Socket): Promise<string> {
  let head = '';
  while (!head.includes('\r\n\r\n')) {
    if (socket.readableLength === 0) await Promise.race([once(socket, 'readable'), once(socket, 'close')]);
    const byte = socket.read(1) as Buffer | null;
    if (byte !== null) head += byte.toString('latin1');
    else if (socket.destroyed || socket.readableEnded) break;
  }
  return head;
}

function wireOf(socket: Socket, events: WireEvents): Omit<Wire, 'send' | 'end'> {
  let how = 'FIN';
  let waiting: (() => void)[] = [];
  const letGo = (): void => {
    for (const go of waiting) go();
    waiting = [];
  };
  socket.on('drain', letGo);
  socket.on('error', (error: NodeJS.ErrnoException) => {
    how = error.code ?? error.message;
  });
  socket.once('end', () => events.closed(how));
  socket.once('close', () => {
    letGo();
    events.closed(how);
  });
  return {
    drained: () => (socket.destroyed ? Promise.resolve() : new Promise<void>((resolve) => waiting.push(resolve))),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    destroy: () => void socket.destroy(),
  };
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
