/** A proxy as operators put it in front of the streaming server: it has the certificate, takes a prefix off paths, and passes on the rest as it is. */
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { once } from 'node:events';
import { addressOf } from './tcp.ts';

const HEAD_END = '\r\n\r\n';

export type ProxyOptions = {
  readonly cert: string;
  readonly key: string;
  /** What it takes off, `/berth/one`. */
  readonly prefix: string;
  readonly to: { readonly host: string; readonly port: number };
};

export class ReverseProxy implements AsyncDisposable {
  /** Request lines without their tickets, as clients sent them: `GET /berth/one/attach/`. */
  readonly requests: string[] = [];
  /** Its ends of the connections to the server, in the order of `requests`. */
  readonly addresses: string[] = [];
  readonly #options: ProxyOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(options: ProxyOptions) {
    this.#options = options;
    // Halves end one by one.
    const tls = { cert: readFileSync(options.cert), key: readFileSync(options.key), allowHalfOpen: true };
    this.#server = createServer(tls, (client) => this.#serve(client));
    // Whoever leaves within the handshake would stay, half open.
    this.#server.on('connection', (socket) => this.#keep(socket));
  }

  static async start(options: ProxyOptions): Promise<ReverseProxy> {
    const proxy = new ReverseProxy(options);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** `https://127.0.0.1:PORT/PREFIX` */
  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}${this.#options.prefix}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }

  #serve(client: Socket): void {
    let head: Buffer = Buffer.alloc(0);
    const take = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      if (!head.includes(HEAD_END)) return;
      client.off('data', take).pause();
      this.#passOn(client, head.toString('latin1'));
    };
    client.on('error', () => client.destroy());
    client.on('data', take);
  }

  #passOn(client: Socket, head: string): void {
    const { prefix, to } = this.#options;
    const [line = '', method = '', path = ''] = /^(\S+) (\S+) /.exec(head) ?? [];
    const inner = path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path;
    const server = connect({ ...to, allowHalfOpen: true });
    this.#keep(server);
    client.on('close', () => server.destroy());
    server.on('close', () => client.destroy());
    server.on('connect', () => {
      this.requests.push(`${method} ${path.slice(0, path.lastIndexOf('/') + 1)}`);
      this.addresses.push(addressOf(server));
      server.write(`${method} ${inner} ${head.slice(line.length)}`, 'latin1');
      client.pipe(server);
      server.pipe(client);
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
