// A streaming server with a handler made of a function, and clients for it; for tests only.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { connect, type Socket } from 'node:net';
import type { StreamingConfig } from '../config/config.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { SessionStatus, Transport, TransportHandlers } from '../transport/transport.ts';
import { clientFrame } from '../transport/websocket/test-frames.ts';
import { silentLog } from '../util/log.ts';
import type { AttachTicket, ConnectionInfo, ExecTicket, PortForwardTicket, StreamHandler, Ticket } from './handler.ts';
import type { HttpTimes } from './http-server.ts';
import { LiveSessions } from './live-sessions.ts';
import { createStreamingServer, type StreamingServer } from './server.ts';
import { SUCCESS } from './session-status.ts';

export type Session = { readonly ticket: AttachTicket | ExecTicket; readonly transport: Transport; readonly info: ConnectionInfo };

/** What a test does with a session; resolves when it is over. */
export type Serve = (session: Session) => Promise<SessionStatus>;

/** What a test does with a port-forward session. */
export type ServeForward = (ticket: PortForwardTicket, transport: PortForwardTransport) => Promise<void>;

export type TestServer = AsyncDisposable & {
  readonly server: StreamingServer;
  readonly dropped: Ticket[];
  /** A new ticket's URL for WebSocket clients. */
  url(streams?: Partial<Pick<AttachTicket, 'stdin' | 'stdout' | 'stderr' | 'containerId'>>): string;
};

export { SUCCESS };

export const ticketOf = (fields: Partial<AttachTicket> = {}): AttachTicket => ({
  method: 'attach',
  containerId: 'c1',
  stdin: true,
  stdout: true,
  stderr: true,
  tty: false,
  claim: Symbol('claim'),
  ...fields,
});

export const CONFIG: StreamingConfig = {
  host: '127.0.0.1',
  port: 0,
  ticketTtlMs: 60_000,
  maxTickets: 100,
  maxSessions: 100,
  maxSessionsPerContainer: 50,
  maxConnections: 356,
  maxWaitingConnections: 256,
  headerTimeoutMs: 10_000,
  maxHeaderBytes: 16_384,
  idleTimeoutMs: 0,
  drainMs: 0,
};

export async function startServer(
  serve: Serve,
  config: Partial<StreamingConfig> = {},
  times?: HttpTimes,
  serveForward: ServeForward = () => Promise.reject(new Error('not in this test')),
  live: LiveSessions = new LiveSessions({ log: silentLog }),
): Promise<TestServer> {
  const dropped: Ticket[] = [];
  const handler: StreamHandler = {
    attach: async (ticket, transport, info) => ({ status: await serve({ ticket, transport, info }), cause: 'as the test says' }),
    exec: async (ticket, transport, info) => ({ status: await serve({ ticket, transport, info }), cause: 'as the test says' }),
    portForward: async (ticket, transport) => {
      await serveForward(ticket, transport);
      return { status: SUCCESS, cause: 'as the test says' };
    },
    drop: (ticket) => dropped.push(ticket),
  };
  const server = await createStreamingServer({ ...CONFIG, ...config }, handler, silentLog, times, live);
  return {
    server,
    dropped,
    url: (streams = {}) => server.issue(ticketOf(streams)).replace('http:', 'ws:'),
    [Symbol.asyncDispose]: () => server.close(0),
  };
}

/** Handlers that do nothing but what the test gives. */
export const handlers = (given: Partial<TransportHandlers>): TransportHandlers => ({
  stdin: () => undefined,
  stdinEof: () => undefined,
  resize: () => undefined,
  drain: () => undefined,
  closed: () => undefined,
  ...given,
});

/** Writes all chunks, waiting for room as a session does. `drain` must be called by the transport's handler of that name. */
export class Pump {
  #wake: (() => void) | undefined;

  readonly drain = (): void => this.#wake?.();

  async write(transport: Transport, stream: 'stdout' | 'stderr', chunks: Iterable<Uint8Array>): Promise<void> {
    for (const chunk of chunks) {
      if (transport.write(stream, chunk)) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** A close frame with code 1000: the last bytes of a session that ends well. */
export const NORMAL_END = Buffer.of(0x88, 2, 0x03, 0xe8);

/** Answers that close frame, as every client does; reads the socket from now on. */
export function answerNormalEnd(socket: Socket): void {
  let last: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    last = Buffer.concat([last, chunk.subarray(-NORMAL_END.length)]).subarray(-NORMAL_END.length);
    if (last.equals(NORMAL_END) && socket.writable) socket.write(clientFrame({ opcode: 8, payload: NORMAL_END.subarray(2) }));
  });
}

/** A connection that speaks bytes: for what no WebSocket library would send. It answers a session's end, as every client does. */
export class RawClient {
  readonly socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;
  #changed: () => void = () => undefined;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.setNoDelay(true);
    this.socket.on('error', () => undefined);
    answerNormalEnd(this.socket);
    this.socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#changed();
    });
    for (const event of ['end', 'close']) {
      this.socket.on(event, () => {
        this.#ended = true;
        this.#changed();
      });
    }
  }

  get received(): Buffer {
    return this.#received;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Waits until the predicate holds of what came, or the server ended the connection. */
  async until(enough: (received: Buffer, ended: boolean) => boolean): Promise<Buffer> {
    while (!enough(this.#received, this.#ended)) {
      assert.equal(
        this.#ended,
        false,
        `the connection ended with ${JSON.stringify(this.#received.toString('latin1').slice(0, 400))}`,
      );
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    return this.#received;
  }

  untilEnd(): Promise<Buffer> {
    return this.until((_, ended) => ended);
  }

  /** Forgets what came, up to and including the end of the HTTP head; gives that head. */
  async head(): Promise<string> {
    const received = await this.until((bytes) => bytes.includes('\r\n\r\n'));
    const end = received.indexOf('\r\n\r\n') + 4;
    this.#received = received.subarray(end);
    return received.subarray(0, end).toString('latin1');
  }

  /** Sends an upgrade request for a URL. */
  upgrade(url: string, protocol = 'v5.channel.k8s.io', more: Buffer = Buffer.alloc(0)): void {
    const { pathname, search, host } = new URL(url);
    const lines = [
      `GET ${pathname}${search} HTTP/1.1`,
      `Host: ${host}`,
      'Connection: keep-alive, Upgrade',
      'Upgrade: WebSocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ...(protocol === '' ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
    ];
    this.socket.write(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), more]));
  }
}
