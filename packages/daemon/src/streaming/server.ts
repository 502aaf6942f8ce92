// The streaming server: turns tickets into URLs and the connections that come to them into sessions of the handler.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamingConfig } from '../config/config.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { SessionStatus, Transport } from '../transport/transport.ts';
import type { Log } from '../util/log.ts';
import {
  type AttachTicket,
  type ConnectionInfo,
  type ExecTicket,
  type PortForwardTicket,
  type StreamHandler,
  targetOf,
  type Ticket,
} from './handler.ts';
import { listen } from './listen.ts';
import { refuseRequest, refuseUpgrade } from './refuse.ts';
import { notFound, type Routed, route, type StreamRequest, tooManySessions } from './router.ts';
import { SessionTable } from './session-table.ts';
import { Tickets } from './tickets.ts';

/** Limits of the HTTP side, before a request becomes a session. */
export type HttpLimits = {
  /** From the connection to the end of the request's headers. */
  readonly headersMs: number;
  /** How often late connections are looked for. */
  readonly checkMs: number;
  readonly headerBytes: number;
  /** Connections beyond the sessions allowed: requests on their way, and ended sessions whose client has not closed. */
  readonly spareConnections: number;
};

/** A local client sends its whole request at once; proxies add headers (tokens, certificates) but stay below 16 KiB. */
const HTTP_LIMITS: HttpLimits = { headersMs: 10_000, checkMs: 2_000, headerBytes: 16 * 1024, spareConnections: 256 };

/** How long `close` waits for sessions that are delivering their last bytes. */
const DRAIN_MS = 3_000;
/** How long `close` then waits for handlers whose connection has been destroyed. */
const DESTROYED_MS = 1_000;

/**
 * Starts the server on `config.host:config.port` (0: any).
 * @throws BerthError see `listen`
 */
export async function createStreamingServer(
  config: StreamingConfig,
  handler: StreamHandler,
  log: Log,
  limits: HttpLimits = HTTP_LIMITS,
): Promise<StreamingServer> {
  const http = createServer({
    headersTimeout: limits.headersMs,
    requestTimeout: limits.headersMs,
    connectionsCheckingInterval: limits.checkMs,
    maxHeaderSize: limits.headerBytes,
    noDelay: true,
  });
  http.maxConnections = config.maxSessions + limits.spareConnections;
  const base = await listen(http, config.host, config.port);
  return new StreamingServer(http, base, config, handler, log);
}

/** A running streaming server. */
export class StreamingServer implements AsyncDisposable {
  /** `http://host:port`, with the actual port. */
  readonly base: string;
  readonly #http: Server;
  readonly #handler: StreamHandler;
  readonly #log: Log;
  readonly #tickets: Tickets;
  readonly #sessions: SessionTable;
  #closed: Promise<void> | undefined;

  constructor(http: Server, base: string, config: StreamingConfig, handler: StreamHandler, log: Log) {
    this.base = base;
    this.#http = http;
    this.#handler = handler;
    this.#log = log;
    this.#tickets = new Tickets({ ttlMs: config.ticketTtlMs, max: config.maxTickets, expired: (ticket) => handler.drop(ticket) });
    this.#sessions = new SessionTable(config);
    http.on('request', (request, response) => this.#refuse(request, response));
    http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
  }

  /** Sessions that run now. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Tickets that have not been used yet. */
  get tickets(): number {
    return this.#tickets.size;
  }

  /**
   * Makes a ticket and gives its URL, which is a secret: never log it. Whatever was kept for the ticket is dropped where this throws.
   * @throws BerthError `TOO_MANY_TICKETS` or `TOO_MANY_SESSIONS` (resource-exhausted)
   */
  issue(ticket: Ticket): string {
    try {
      const full = this.#sessions.full(targetOf(ticket));
      if (full !== undefined) throw full;
      return this.#url(ticket, this.#tickets.issue(ticket));
    } catch (error) {
      this.#handler.drop(ticket);
      throw error;
    }
  }

  #url(ticket: Ticket, token: string): string {
    return `${this.base}/${ticket.method}/${token}`;
  }

  /**
   * Accepts nothing more, gives sessions `drainMs` to end by themselves (the handler's owner tells them to), destroys the rest. Unused
   * tickets are dropped. Idempotent.
   */
  close(drainMs: number = DRAIN_MS): Promise<void> {
    this.#closed ??= this.#close(drainMs);
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(drainMs: number): Promise<void> {
    const stopped = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#http.closeAllConnections();
    this.#tickets.close();
    await this.#idleWithin(drainMs);
    this.#sessions.destroyAll();
    await this.#idleWithin(DESTROYED_MS);
    // Connections that lost their session (refused, lingering after a fault) end by their own timers; they need not be waited for.
    await Promise.race([stopped, sleep(DESTROYED_MS, undefined, { ref: false })]);
  }

  async #idleWithin(ms: number): Promise<void> {
    const timeout = new AbortController();
    const late = sleep(ms, undefined, { signal: timeout.signal }).catch(() => undefined);
    await Promise.race([this.#sessions.idle(), late]);
    timeout.abort();
  }

  #route(request: StreamRequest): ReturnType<typeof route> {
    return route(request, (token, kind) => this.#tickets.peek(token, kind) !== undefined);
  }

  /** A request without an upgrade never becomes a session; the router says why. */
  #refuse(request: IncomingMessage, response: ServerResponse): void {
    const routed = this.#route(streamRequest(request));
    refuseRequest(response, routed.ok ? notFound() : routed);
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const routed = this.#route(streamRequest(request));
    if (!routed.ok) {
      this.#log.debug({ remote: socket.remoteAddress, status: routed.status, reason: routed.message }, 'upgrade refused');
      return refuseUpgrade(socket, routed);
    }
    const waiting = this.#tickets.peek(routed.token, routed.kind);
    const full = waiting === undefined ? undefined : this.#sessions.full(targetOf(waiting));
    if (full !== undefined) return refuseUpgrade(socket, tooManySessions(full.message));
    const ticket = this.#tickets.take(routed.token, routed.kind);
    if (ticket === undefined) return refuseUpgrade(socket, notFound());
    this.#open(ticket, routed, socket, head);
  }

  #open(ticket: Ticket, routed: Routed, socket: Socket, head: Buffer): void {
    const info: ConnectionInfo = { remoteAddress: socket.remoteAddress ?? '', from: routed.from };
    if (routed.kind === 'portforward') {
      if (ticket.method !== 'portforward') throw new Error('a ticket of another kind was taken');
      const transport = routed.upgrade.open(socket, head, ticket.ports);
      this.#sessions.add(targetOf(ticket), transport, this.#serveForward(ticket, transport, info));
      return;
    }
    if (ticket.method === 'portforward') throw new Error('a ticket of another kind was taken');
    const transport = routed.upgrade.open(socket, head, ticket);
    this.#sessions.add(targetOf(ticket), transport, this.#serve(ticket, transport, info));
  }

  async #serve(ticket: AttachTicket | ExecTicket, transport: Transport, info: ConnectionInfo): Promise<void> {
    let status: SessionStatus = { status: 'Failure', reason: 'InternalError', message: 'Internal error occurred', code: 500 };
    try {
      status = await (ticket.method === 'attach'
        ? this.#handler.attach(ticket, transport, info)
        : this.#handler.exec(ticket, transport, info));
    } catch (error) {
      this.#log.error({ container: ticket.containerId, kind: ticket.method, error }, 'session failed');
    }
    // Idempotent, and only waits for the connection's end where the handler did as it promises; a fault of ours must not look like success.
    await transport.finish(status);
  }

  async #serveForward(ticket: PortForwardTicket, transport: PortForwardTransport, info: ConnectionInfo): Promise<void> {
    try {
      await this.#handler.portForward(ticket, transport, info);
    } catch (error) {
      this.#log.error({ pod: ticket.podId, kind: ticket.method, error }, 'session failed');
    }
    await transport.finish();
  }
}

function streamRequest(request: IncomingMessage): StreamRequest {
  return { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
}
