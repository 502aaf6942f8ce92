/** Attach requests over a bare TCP connection: what no proper client would send. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { eventually } from './processes.ts';

/** A connection whose received bytes are collected. */
export class RawConnection implements Disposable {
  readonly socket: Socket;
  received: Buffer = Buffer.alloc(0);
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('error', () => {});
  }

  static async open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const connection = new RawConnection(socket);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return connection;
  }

  /** Sends a request line and headers, and what is to come right behind; resolves with the status code of the answer. */
  async request(
    url: string,
    headers: Readonly<Record<string, string>>,
    method = 'GET',
    behind: Uint8Array = Buffer.alloc(0),
  ): Promise<number> {
    const { pathname, host, search } = new URL(url);
    const lines = [
      `${method} ${pathname}${search} HTTP/1.1`,
      `Host: ${host}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ];
    this.socket.write(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), behind]));
    return eventually('an HTTP answer', () => {
      const status = /^HTTP\/1\.1 (\d{3}) [\s\S]*?\r\n\r\n/.exec(this.received.toString('latin1'))?.[1];
      if (status === undefined && this.closed) throw new Error('closed without an answer');
      return status === undefined ? undefined : Number(status);
    });
  }

  async gone(timeoutMs = 15_000): Promise<void> {
    await eventually('the server closes the connection', () => this.closed, timeoutMs);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** The headers of a proper WebSocket upgrade. */
export const upgradeHeaders = (protocol?: string): Record<string, string> => ({
  Upgrade: 'websocket',
  Connection: 'Upgrade',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
  ...(protocol === undefined ? {} : { 'Sec-WebSocket-Protocol': protocol }),
});

/** A frame of a client, masked with zeros. */
export function frame(
  first: number,
  payload: Uint8Array,
  options: { readonly masked?: boolean; readonly length?: bigint } = {},
): Buffer {
  const header = Buffer.alloc(10);
  header[0] = first;
  header[1] = 127 | (options.masked === false ? 0 : 0x80);
  header.writeBigUInt64BE(options.length ?? BigInt(payload.length), 2);
  return Buffer.concat([header, Buffer.alloc(options.masked === false ? 0 : 4), payload]);
}
