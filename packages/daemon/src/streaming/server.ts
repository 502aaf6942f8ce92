// The streaming server: turns tickets into URLs and the connections that come to them into sessions of the handler.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamingConfig } from '../config/config.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { Transport } from '../transport/transport.ts';
import type { Refusal } from '../transport/upgrade.ts';
import type { Log } from '../util/log.ts';
import {
  type AttachTicket,
  type ConnectionInfo,
  type ExecTicket,
  type PortForwardTicket,
  type SessionEnd,
  type StreamHandler,
  targetOf,
  type Ticket,
} from './handler.ts';
import { listen } from './listen.ts';
import { LiveSessions } from './live-sessions.ts';
import { peerOf } from './peer.ts';
import { refuseRequest, refuseUpgrade } from './refuse.ts';
import { notFound, type Routed, route, type StreamRequest, tooManySessions } from './router.ts';
import { failure } from './session-status.ts';
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
  live: LiveSessions = new LiveSessions({ log }),
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
  return new StreamingServer(http, base, config, handler, log, live);
}

/** A running streaming server. */
export class StreamingServer implements AsyncDisposable {
  /** `http://host:port`, with the actual port. */
  readonly base: string;
  /** The sessions that run now, and totals. */
  readonly live: LiveSessions;
  readonly #http: Server;
  readonly #handler: StreamHandler;
  readonly #log: Log;
  readonly #tickets: Tickets;
  readonly #sessions: SessionTable;
  #closed: Promise<void> | undefined;

  constructor(http: Server, base: string, config: StreamingConfig, handler: StreamHandler, log: Log, live: LiveSessions) {
    this.base = base;
    this.live = live;
    this.#http = http;
    this.#handler = handler;
    this.#log = log;
    const expired = (ticket: Ticket): void => {
      live.expired(ticket);
      handler.drop(ticket);
    };
    this.#tickets = new Tickets({ ttlMs: config.ticketTtlMs, max: config.maxTickets, expired });
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
      const token = this.#tickets.issue(ticket);
      this.live.issued(ticket);
      return this.#url(ticket, token);
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
    const refusal = routed.ok ? notFound() : routed;
    this.live.refused(refusal.status);
    refuseRequest(response, refusal);
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const routed = this.#route(streamRequest(request));
    if (!routed.ok) {
      this.#log.debug({ remote: socket.remoteAddress, status: routed.status, reason: routed.message }, 'upgrade refused');
      return this.#refuseUpgrade(socket, routed);
    }
    const waiting = this.#tickets.peek(routed.token, routed.kind);
    const full = waiting === undefined ? undefined : this.#sessions.full(targetOf(waiting));
    if (full !== undefined) return this.#refuseUpgrade(socket, tooManySessions(full.message));
    const ticket = this.#tickets.take(routed.token, routed.kind);
    if (ticket === undefined) return this.#refuseUpgrade(socket, notFound());
    this.#open(ticket, routed, socket, head);
  }

  #refuseUpgrade(socket: Socket, refusal: Refusal): void {
    this.live.refused(refusal.status);
    refuseUpgrade(socket, refusal);
  }

  #open(ticket: Ticket, routed: Routed, socket: Socket, head: Buffer): void {
    const peer = peerOf(socket);
    const info = { remoteAddress: peer.remoteAddress, from: routed.from };
    if (routed.kind === 'portforward') {
      if (ticket.method !== 'portforward') throw new Error('a ticket of another kind was taken');
      const { session, transport } = this.live.beginForward(ticket, peer, routed.upgrade.open(socket, head, ticket.ports));
      const served = this.#serveForward(ticket, transport, info).then((end) => session.end(end));
      this.#sessions.add(targetOf(ticket), transport, served);
      return;
    }
    if (ticket.method === 'portforward') throw new Error('a ticket of another kind was taken');
    const { session, transport } = this.live.begin(ticket, peer, routed.from, routed.upgrade.open(socket, head, ticket));
    const served = this.#serve(ticket, transport, { ...info, lagIs: (lag) => session.lagIs(lag) }).then((end) => session.end(end));
    this.#sessions.add(targetOf(ticket), transport, served);
  }

  async #serve(ticket: AttachTicket | ExecTicket, transport: Transport, info: ConnectionInfo): Promise<SessionEnd> {
    let end = FAULT;
    try {
      end = await (ticket.method === 'attach'
        ? this.#handler.attach(ticket, transport, info)
        : this.#handler.exec(ticket, transport, info));
    } catch (error) {
      this.#log.error({ container: ticket.containerId, kind: ticket.method, err: error }, 'session failed');
    }
    // Idempotent, and only waits for the connection's end where the handler did as it promises; a fault of ours must not look like success.
    await transport.finish(end.status);
    return end;
  }

  async #serveForward(ticket: PortForwardTicket, transport: PortForwardTransport, info: ConnectionInfo): Promise<SessionEnd> {
    let end = FAULT;
    try {
      end = await this.#handler.portForward(ticket, transport, info);
    } catch (error) {
      this.#log.error({ pod: ticket.podId, kind: ticket.method, err: error }, 'session failed');
    }
    await transport.finish();
    return end;
  }
}

/** A handler that rejects has a fault of ours. */
const FAULT: SessionEnd = { status: failure('InternalError', 'Internal error occurred'), cause: 'a fault of the daemon' };

function streamRequest(request: IncomingMessage): StreamRequest {
  return { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
}
