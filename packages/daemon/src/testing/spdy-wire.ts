/** What carries a SPDY test client's bytes: a connection of its own, with TLS or without, or a WebSocket. */
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { serverFrame } from '../transport/websocket/test-frames.ts';

/** What carries a client's bytes. */
export type Wire = {
  /** False: wait for `drained`. */
  send(bytes: Uint8Array): boolean;
  drained(): Promise<unknown>;
  queued(): number;
  pause(): void;
  resume(): void;
  end(): void;
  destroy(): void;
};

export type WireEvents = {
  data(chunk: Buffer): void;
  closed(how: string): void;
  /** A WebSocket frame that is neither binary nor close. */
  odd(opcode: number, payload: Buffer): void;
};

type Opened = { readonly wire: Wire; readonly head: string };

export type SpdyClientOptions = {
  readonly protocols?: readonly string[];
  readonly method?: string;
  /** Over a WebSocket instead of a connection of its own. */
  readonly tunnel?: boolean;
  /** The authority of an https server. */
  readonly ca?: Buffer;
};

export async function socketWire(url: string, events: WireEvents, options: SpdyClientOptions): Promise<Opened> {
  const { socket, head } = await upgrade(url, options, (path, host) => [
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
export async function tunnelWire(url: string, events: WireEvents, options: SpdyClientOptions): Promise<Opened> {
  const { socket, head } = await upgrade(url, options, (path, host) => [
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

async function upgrade(
  url: string,
  { ca }: SpdyClientOptions,
  request: (path: string, host: string) => string[],
): Promise<{ socket: Socket; head: string }> {
  const { pathname, search, host, hostname, port } = new URL(url);
  const to = { port: Number(port), host: hostname, allowHalfOpen: true };
  const socket = ca === undefined ? connect(to) : connectTls({ ...to, ca });
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
    queued: () => socket.writableLength,
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    destroy: () => void socket.destroy(),
  };
}
