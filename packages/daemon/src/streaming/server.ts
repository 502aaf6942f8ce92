// The streaming server: turns tickets into URLs and the connections that come to them into sessions of the handler.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { StreamingConfig } from '../config/config.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { Transport } from '../transport/transport.ts';
import type { Refusal } from '../transport/upgrade.ts';
import { daemonStopping } from '../util/daemon-stopping.ts';
import type { Log } from '../util/log.ts';
import { settledWithin } from '../util/wait.ts';
import { type ConnectionInfo, type SessionEnd, type StreamHandler, targetOf, type Ticket } from './handler.ts';
import { type HttpTimes, makeHttpServer } from './http-server.ts';
import { endForwardWhenIdle, endWhenIdle } from './idle-timeout.ts';
import { baseUrl, listen } from './listen.ts';
import { type LiveSession, LiveSessions } from './live-sessions.ts';
import { peerOf } from './peer.ts';
import { leaveToItsEnd, refuseRequest, refuseUpgrade } from './refuse.ts';
import { fault, notFound, type Routed, route, type StreamRequest, tooManySessions, unavailable } from './router.ts';
import { failure } from './session-status.ts';
import { SessionTable } from './session-table.ts';
import { Tickets } from './tickets.ts';
import { readTlsFiles } from './tls-files.ts';
import { fingerprint, logMaterial, TlsReload } from './tls-reload.ts';
import { connectionLog, WaitingConnections } from './waiting-connections.ts';

/** How long `close` waits for sessions that are delivering their last bytes. */
const LAST_BYTES_MS = 3_000;
/** How long `close` then waits for handlers whose connection has been destroyed. */
const DESTROYED_MS = 1_000;

/**
 * Starts the server on `config.host:config.port` (0: any).
 * @throws BerthError see `listen`, `baseUrl` and `readTlsFiles`
 */
export async function createStreamingServer(
  config: StreamingConfig,
  handler: StreamHandler,
  log: Log,
  times?: HttpTimes,
  live: LiveSessions = new LiveSessions({ log }),
): Promise<StreamingServer> {
  const tls = config.tls;
  const seen = tls === undefined ? '' : await fingerprint(tls);
  const material = tls === undefined ? undefined : await readTlsFiles(tls);
  const http = makeHttpServer(config, material, times);
  const connections = new WaitingConnections(http, config, connectionLog(log));
  const address = await listen(http, config);
  const base = baseUrl(config, address);
  if (material !== undefined) logMaterial(log, material, 'streaming server has TLS');
  const reload = tls !== undefined && http instanceof HttpsServer ? new TlsReload(http, tls, seen, log) : undefined;
  return new StreamingServer({ http, connections, reload, base, live }, config, handler, log);
}

/** What a streaming server is made of. */
type Parts = {
  readonly http: Server | HttpsServer;
  readonly connections: WaitingConnections;
  readonly reload: TlsReload | undefined;
  readonly base: string;
  readonly live: LiveSessions;
};

/** A request that becomes a session. */
type Admitted = { readonly ticket: Ticket; readonly routed: Routed };

/** A running streaming server. */
export class StreamingServer implements AsyncDisposable {
  /** What URLs begin with: `https://node.example:10350`. Without `streaming.advertise` the address with its actual port. */
  readonly base: string;
  /** The sessions that run now, and totals. */
  readonly live: LiveSessions;
  readonly #http: Server | HttpsServer;
  readonly #connections: WaitingConnections;
  readonly #reload: TlsReload | undefined;
  readonly #idleTimeoutMs: number;
  readonly #handler: StreamHandler;
  readonly #log: Log;
  readonly #tickets: Tickets;
  readonly #sessions: SessionTable;
  /** Connections that have been answered. Every answer ends its connection, and what comes behind it on the same one is nobody's. */
  readonly #answered = new WeakSet<Socket>();
  #draining = false;
  #closed: Promise<void> | undefined;

  constructor({ http, connections, reload, base, live }: Parts, config: StreamingConfig, handler: StreamHandler, log: Log) {
    this.base = base;
    this.live = live;
    this.#http = http;
    this.#connections = connections;
    this.#reload = reload;
    this.#idleTimeoutMs = config.idleTimeoutMs;
    this.#handler = handler;
    this.#log = log;
    const expired = (ticket: Ticket): void => {
      live.expired(ticket);
      handler.drop(ticket);
    };
    this.#tickets = new Tickets({ ttlMs: config.ticketTtlMs, max: config.maxTickets, expired });
    this.#sessions = new SessionTable(config);
    http.on('request', (request: IncomingMessage, response: ServerResponse) => this.#request(request, response));
    http.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => this.#upgrade(request, socket, head));
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
   * @throws BerthError `TOO_MANY_TICKETS` or `TOO_MANY_SESSIONS` (resource-exhausted), `DAEMON_STOPPING` (unavailable)
   */
  issue(ticket: Ticket): string {
    try {
      if (this.#draining) throw daemonStopping();
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
   * Gives out no URL and takes no connection from now on, says so to those who come, and drops unused tickets. Resolves when no session
   * is left, after `ms`, or when the signal says so; sessions that are left then go on until `close`.
   */
  async drain(ms: number, signal?: AbortSignal): Promise<void> {
    this.#draining = true;
    this.#tickets.close();
    await this.#idleWithin(ms, signal);
  }

  /**
   * Accepts nothing more, gives sessions `lastBytesMs` to end (the handler's owner tells them to), destroys the rest. Unused tickets are
   * dropped. Idempotent.
   */
  close(lastBytesMs: number = LAST_BYTES_MS): Promise<void> {
    this.#closed ??= this.#close(lastBytesMs);
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(lastBytesMs: number): Promise<void> {
    this.#draining = true;
    this.#reload?.stop();
    const stopped = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#http.closeAllConnections();
    this.#tickets.close();
    await this.#idleWithin(lastBytesMs);
    this.#sessions.destroyAll();
    await this.#idleWithin(DESTROYED_MS);
    this.#connections.destroyWaiting();
    // Connections that lost their session (lingering after a fault) end by their own timers; they need not be waited for.
    await settledWithin(stopped, DESTROYED_MS);
  }

  async #idleWithin(ms: number, signal?: AbortSignal): Promise<void> {
    await settledWithin(this.#sessions.idle(), ms, signal).catch(() => undefined);
  }

  #route(request: StreamRequest): ReturnType<typeof route> {
    if (this.#draining) return unavailable(daemonStopping().message);
    return route(request, (token, kind) => this.#tickets.peek(token, kind) !== undefined);
  }

  /** A request without an upgrade never becomes a session; the router says why. */
  #request(request: IncomingMessage, response: ServerResponse): void {
    this.#answered.add(request.socket);
    const refusal = this.#guarded(() => {
      const routed = this.#route(streamRequest(request));
      return routed.ok ? notFound() : routed;
    });
    this.live.refused(refusal.status);
    refuseRequest(response, refusal);
  }

  /** @param socket of a request with a body a stream that is no Socket; the router refuses those */
  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    if (this.#answered.has(request.socket)) return leaveToItsEnd(socket);
    const admitted = this.#guarded(() => this.#admit(streamRequest(request)));
    if (!('ticket' in admitted)) {
      this.#log.debug({ remote: socket.remoteAddress, status: admitted.status, reason: admitted.message }, 'upgrade refused');
      this.live.refused(admitted.status);
      return refuseUpgrade(socket, request.method ?? '', admitted);
    }
    try {
      this.#open(admitted.ticket, admitted.routed, socket, head);
    } catch (error) {
      // The connection may have become a session's: there is no way to say it on it.
      this.#log.error({ err: error }, 'session could not be opened');
      this.#handler.drop(admitted.ticket);
      socket.destroy();
    }
  }

  /** A fault of ours costs the request that meets it, not the daemon and all of its sessions. */
  #guarded<T>(judge: () => T): T | Refusal {
    try {
      return judge();
    } catch (error) {
      this.#log.error({ err: error }, 'request failed');
      return fault();
    }
  }

  /** Takes the ticket of a request that may become a session, or says why it may not. */
  #admit(request: StreamRequest): Admitted | Refusal {
    const routed = this.#route(request);
    if (!routed.ok) return routed;
    const waiting = this.#tickets.peek(routed.token, routed.kind);
    const full = waiting === undefined ? undefined : this.#sessions.full(targetOf(waiting));
    if (full !== undefined) return tooManySessions(full.message);
    const ticket = this.#tickets.take(routed.token, routed.kind);
    return ticket === undefined ? notFound() : { ticket, routed };
  }

  #open(ticket: Ticket, routed: Routed, socket: Socket, head: Buffer): void {
    this.#connections.served(socket);
    // Sessions end their halves one by one, but HTTPS answers a client's FIN with its own (and for all connections this must stay so: one
    // that is ended within its handshake would stay open).
    socket.allowHalfOpen = true;
    const peer = peerOf(socket);
    const info = { remoteAddress: peer.remoteAddress, from: routed.from };
    if (routed.kind === 'portforward') {
      if (ticket.method !== 'portforward') throw new Error('a ticket of another kind was taken');
      const { session, ...begun } = this.live.beginForward(ticket, peer, routed.upgrade.open(socket, head, ticket.ports));
      const transport = endForwardWhenIdle(begun.transport, this.#idleTimeoutMs);
      const served = this.#serve(ticket, transport, session, () => this.#handler.portForward(ticket, transport, info));
      this.#sessions.add(targetOf(ticket), transport, served);
      return;
    }
    if (ticket.method === 'portforward') throw new Error('a ticket of another kind was taken');
    const { session, ...begun } = this.live.begin(ticket, peer, routed.from, routed.upgrade.open(socket, head, ticket));
    const transport = endWhenIdle(begun.transport, this.#idleTimeoutMs);
    const more: ConnectionInfo = { ...info, lagIs: (lag) => session.lagIs(lag) };
    const served = this.#serve(ticket, transport, session, () =>
      ticket.method === 'attach' ? this.#handler.attach(ticket, transport, more) : this.#handler.exec(ticket, transport, more),
    );
    this.#sessions.add(targetOf(ticket), transport, served);
  }

  async #serve(
    ticket: Ticket,
    transport: Transport | PortForwardTransport,
    session: LiveSession,
    handle: () => Promise<SessionEnd>,
  ): Promise<void> {
    let end = FAULT;
    try {
      end = await handle();
    } catch (error) {
      const target = ticket.method === 'portforward' ? { pod: ticket.podId } : { container: ticket.containerId };
      this.#log.error({ ...target, kind: ticket.method, err: error }, 'session failed');
    }
    // Idempotent, and only waits for the connection's end where the handler did as it promises; a fault of ours must not look like success.
    await transport.finish(end.status);
    session.end(end);
  }
}

/** A handler that rejects has a fault of ours. */
const FAULT: SessionEnd = { status: failure('InternalError', 'Internal error occurred'), cause: 'a fault of the daemon' };

function streamRequest(request: IncomingMessage): StreamRequest {
  return { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
}
