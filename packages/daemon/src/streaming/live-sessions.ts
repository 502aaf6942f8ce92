/** The sessions that run: who they are, what they move, how they are ended from outside, and the audit lines of their begin and end. */
import { randomBytes } from 'node:crypto';
import type { Family } from '../observability/metric.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { Transport } from '../transport/transport.ts';
import { BerthError } from '../util/errors.ts';
import { findById } from '../util/ids.ts';
import type { Log } from '../util/log.ts';
import { settledWithin } from '../util/wait.ts';
import { endReason } from './end-reason.ts';
import type { SessionEnd, SessionKind, Ticket } from './handler.ts';
import { MeteredForwardTransport } from './metered-forward.ts';
import { MeteredTransport } from './metered-transport.ts';
import type { Peer } from './peer.ts';
import { type AuditSubject, auditBegin, auditEnd } from './session-audit.ts';
import { KILL_GRACE_MS, type Killable, SessionMeter } from './session-meter.ts';
import { StreamingStats } from './streaming-stats.ts';

/** What people call the container or pod of a session. */
export type TargetNames = {
  readonly containerName?: string;
  readonly podId?: string;
  readonly podName?: string;
  readonly podNamespace?: string;
};

/** A session as lists show it. */
export type SessionView = {
  /** 12 hex digits; tells nothing of the ticket. */
  readonly id: string;
  readonly ticket: Ticket;
  readonly names: TargetNames;
  readonly peer: Peer;
  readonly protocol: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly meter: Readonly<SessionMeter>;
  /** Bytes behind the container's newest output; undefined where there is no such thing. */
  readonly lag: number | undefined;
};

export type LiveSessionsOptions = {
  readonly log: Log;
  /** Looks a session's container or pod up; asked once, at the begin. */
  readonly names?: (ticket: Ticket) => TargetNames;
};

export type Begun<T> = { readonly session: LiveSession; readonly transport: T };

/** Short enough to type, and of thousands of sessions hardly ever two begin with the same four digits. */
const ID_BYTES = 6;
/** What `kill` waits beyond the grace: the session has its own things to close. */
const KILL_MARGIN_MS = 3_000;
/** Who killed a session is said by the caller. */
const MAX_BY_CHARS = 64;

export class LiveSessions {
  readonly #options: LiveSessionsOptions;
  readonly #stats = new StreamingStats();
  readonly #live = new Map<string, LiveSession>();
  /** When a ticket was given out. */
  readonly #issuedAt = new WeakMap<Ticket, number>();

  constructor(options: LiveSessionsOptions) {
    this.#options = options;
  }

  issued(ticket: Ticket): void {
    this.#issuedAt.set(ticket, performance.now());
    this.#stats.issued(ticket.method);
  }

  expired(ticket: Ticket): void {
    this.#stats.expired(ticket.method);
  }

  /** A request that became no session. */
  refused(status: number): void {
    this.#stats.refused(status);
  }

  /** Begins a session; it is to be served over the transport that comes back, and its `end` called when that is over. */
  begin(ticket: Ticket, peer: Peer, from: 'now' | 'start', inner: Transport): Begun<Transport> {
    const meter = new SessionMeter();
    const transport = new MeteredTransport(inner, meter);
    return { session: this.#begin(ticket, peer, from, transport, meter), transport };
  }

  /** The same for port-forward. */
  beginForward(ticket: Ticket, peer: Peer, inner: PortForwardTransport): Begun<PortForwardTransport> {
    const meter = new SessionMeter();
    const transport = new MeteredForwardTransport(inner, meter);
    return { session: this.#begin(ticket, peer, 'now', transport, meter), transport };
  }

  /** Oldest first. */
  list(): SessionView[] {
    return [...this.#live.values()];
  }

  /**
   * Ends a session and waits for that, bounded: the client is told so in a Failure status with reason `SessionKilled`; one that takes
   * nothing is cut off after KILL_GRACE_MS. `by` says who wants it.
   * @throws BerthError `SESSION_NOT_FOUND`, `ID_MISSING`, `AMBIGUOUS_ID`
   */
  async kill(idOrPrefix: string, by: string): Promise<SessionView> {
    if (idOrPrefix === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required session id');
    const session = findById(this.#live, idOrPrefix, 'session');
    if (session === undefined)
      throw new BerthError('not-found', 'SESSION_NOT_FOUND', `no session has the id "${idOrPrefix}"; it may have ended`);
    session.kill(by);
    await settledWithin(session.over, KILL_GRACE_MS + KILL_MARGIN_MS);
    return session;
  }

  /** Metrics as they are now; `tickets` are those that are outstanding. */
  metrics(tickets: number): Family[] {
    const live = [...this.#live.values()];
    return this.#stats.families(
      live,
      tickets,
      live.reduce((most, { lag }) => Math.max(most, lag ?? 0), 0),
    );
  }

  #begin(
    ticket: Ticket,
    peer: Peer,
    from: 'now' | 'start',
    transport: Killable & { readonly protocol: string },
    meter: SessionMeter,
  ): LiveSession {
    const issuedAt = this.#issuedAt.get(ticket);
    const subject: AuditSubject = {
      id: this.#newId(),
      ticket,
      names: this.#options.names?.(ticket) ?? {},
      peer,
      protocol: transport.protocol,
      from,
    };
    const session: LiveSession = new LiveSession(subject, transport, meter, (end) => this.#ended(session, end));
    this.#live.set(session.id, session);
    this.#stats.begun(session, issuedAt === undefined ? undefined : session.beganAt - issuedAt);
    auditBegin(this.#options.log, subject);
    return session;
  }

  #ended(session: LiveSession, end: SessionEnd): void {
    this.#live.delete(session.id);
    const now = performance.now();
    const reason = endReason(session.meter, end);
    this.#stats.ended(session, reason, session.beganAt, now);
    auditEnd(this.#options.log, session.subject, session.meter, { end, reason, ms: now - session.beganAt });
  }

  #newId(): string {
    for (;;) {
      const id = randomBytes(ID_BYTES).toString('hex');
      if (!this.#live.has(id)) return id;
    }
  }
}

export class LiveSession implements SessionView {
  readonly subject: AuditSubject;
  readonly startedAt = Date.now();
  readonly beganAt = performance.now();
  readonly meter: SessionMeter;
  /** Resolves when the session has ended. */
  readonly over: Promise<void>;
  readonly #connection: Killable;
  readonly #over = Promise.withResolvers<void>();
  readonly #ended: (end: SessionEnd) => void;
  #lag: (() => number) | undefined;

  constructor(subject: AuditSubject, connection: Killable, meter: SessionMeter, ended: (end: SessionEnd) => void) {
    this.subject = subject;
    this.meter = meter;
    this.over = this.#over.promise;
    this.#connection = connection;
    this.#ended = ended;
  }

  get id(): string {
    return this.subject.id;
  }

  get ticket(): Ticket {
    return this.subject.ticket;
  }

  get kind(): SessionKind {
    return this.subject.ticket.method;
  }

  get names(): TargetNames {
    return this.subject.names;
  }

  get peer(): Peer {
    return this.subject.peer;
  }

  get protocol(): string {
    return this.subject.protocol;
  }

  get lag(): number | undefined {
    return this.#lag?.();
  }

  /** How the session's lag can be asked from now on. */
  lagIs(lag: () => number): void {
    this.#lag = lag;
  }

  kill(by: string): void {
    // Goes into logs and to the client: one short line of plain characters.
    const who = by.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, MAX_BY_CHARS) || 'an operator';
    this.#connection.kill(who);
  }

  /** Once, when the session is over and its connection closed. */
  end(end: SessionEnd): void {
    this.#ended(end);
    this.#over.resolve();
  }
}
