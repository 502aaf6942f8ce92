/**
 * A small API server for real Kubernetes clients, on loopback and without TLS: pods that are mapped to a daemon by CRI, and the
 * subresources attach, exec and portforward, proxied in the two ways of real clusters. The way is chosen by the server's path:
 * `/raw` passes the client's upgrade on as it is (old API servers and kubelets; WebSocket arrives as WebSocket), `/translated`
 * turns WebSocket v5 and the port-forward tunnel into SPDY (API server or kubelet since 1.30). SPDY passes raw by both.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Socket } from 'node:net';
import type { BerthClient } from '@berth/client';
import { Cluster } from './cluster.ts';
import { sendError, serve } from './routes.ts';
import { openStream, type Way } from './streams.ts';

/** What a server needs of a test's daemon. */
type Node = { readonly client: BerthClient; readonly logs: string };

export class ApiServer implements AsyncDisposable {
  readonly cluster: Cluster;
  /** What went wrong between this server and the daemon that no client may see, Node's warnings among it: a test expects none. */
  readonly faults: string[] = [];
  /** What clients asked for and how it was passed on, in the order in which it was: `exec SPDY/3.1 raw`. */
  readonly upgrades: string[] = [];
  readonly #node: Node;
  readonly #http: Server;
  readonly #upgraded = new Set<Socket>();
  readonly #warned = (warning: Error): number => this.faults.push(String(warning));

  private constructor(node: Node) {
    this.#node = node;
    process.on('warning', this.#warned);
    this.cluster = new Cluster(node.client, node.logs);
    this.#http = createServer((request, response) => {
      const { url } = parse(request);
      serve(this.cluster, url, request, response).catch((error: unknown) => sendError(response, error));
    });
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
  }

  static async start(node: Node): Promise<ApiServer> {
    const server = new ApiServer(node);
    server.#http.listen(0, '127.0.0.1');
    await once(server.#http, 'listening');
    return server;
  }

  url(way: Way): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}/${way}`;
  }

  /** Writes a kubeconfig for one way; gives its path. */
  kubeconfig(way: Way, folder: string): string {
    const path = `${folder}/kubeconfig-${way}`;
    const cluster = { name: 'test', cluster: { server: this.url(way) } };
    const context = { name: 'test', context: { cluster: 'test', user: 'test', namespace: 'default' } };
    const users = [{ name: 'test', user: {} }];
    const more = { 'current-context': 'test', clusters: [cluster], contexts: [context], users };
    // JSON is YAML.
    writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'Config', ...more }));
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The daemon's own end tells what is left, and why.
    await this.cluster.clear().catch(() => undefined);
    for (const socket of this.#upgraded) socket.destroy();
    this.#http.closeAllConnections();
    process.off('warning', this.#warned);
    await new Promise((resolve) => this.#http.close(resolve));
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    this.#upgraded.add(socket);
    socket.on('close', () => this.#upgraded.delete(socket));
    socket.on('error', () => socket.destroy());
    const { way, url } = parse(request);
    const context = {
      cri: this.#node.client,
      cluster: this.cluster,
      fault: (text: string) => this.faults.push(text),
      passed: (text: string) => this.upgrades.push(text),
    };
    openStream(context, way, url, { request, socket, head }).catch((error: unknown) => {
      this.faults.push(String(error));
      socket.destroy();
    });
  }
}

/** Takes the way off the path. */
function parse(request: IncomingMessage): { way: Way; url: URL } {
  const [, way, rest] = /^\/(raw|translated)(\/.*)$/.exec(request.url ?? '') ?? [];
  return { way: way === 'translated' ? 'translated' : 'raw', url: new URL(rest ?? '/', 'http://api') };
}
