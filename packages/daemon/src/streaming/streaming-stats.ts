/** Totals of the streaming server since the daemon's start, and how they are shown as metrics. */
import { Counts, Histograms } from '../observability/counts.ts';
import { counter, type Family, gauge, type Sample } from '../observability/metric.ts';
import { END_REASONS, type EndReason } from './end-reason.ts';
import type { SessionKind } from './handler.ts';
import type { SessionMeter } from './session-meter.ts';

const KINDS: readonly SessionKind[] = ['attach', 'exec', 'portforward'];
/** Seconds. An attach takes milliseconds from the call to its first byte; clients behind bad networks take seconds, tickets live a minute. */
const LATENCY_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Seconds: from probes to sessions that stay for weeks. */
const DURATION_BOUNDS = [0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800];

/** A session as far as totals need it. */
export type Measured = { readonly kind: SessionKind; readonly protocol: string; readonly meter: SessionMeter };

export class StreamingStats {
  readonly #begun = new Counts();
  readonly #ended = new Counts();
  readonly #bytes = new Counts();
  readonly #connections = new Counts();
  readonly #issued = new Counts();
  readonly #used = new Counts();
  readonly #expired = new Counts();
  readonly #refused = new Counts();
  readonly #connect = new Histograms(LATENCY_BOUNDS);
  readonly #firstOutput = new Histograms(LATENCY_BOUNDS);
  readonly #duration = new Histograms(DURATION_BOUNDS);

  constructor() {
    // Known from the start: what appears only with its first event has no rate for that event.
    for (const kind of KINDS) {
      for (const reason of END_REASONS) this.#ended.add({ kind, reason }, 0);
      for (const counts of [this.#issued, this.#used, this.#expired]) counts.add({ kind }, 0);
    }
  }

  issued(kind: SessionKind): void {
    this.#issued.add({ kind });
  }

  expired(kind: SessionKind): void {
    this.#expired.add({ kind });
  }

  /** A request that became no session; `status` is one of the router's. */
  refused(status: number): void {
    this.#refused.add({ code: String(status) });
  }

  /** A ticket was used; `waitedMs` from the call to the connection. */
  begun({ kind, protocol }: Measured, waitedMs: number | undefined): void {
    this.#used.add({ kind });
    this.#begun.add({ kind, protocol });
    if (waitedMs !== undefined) this.#connect.observe({ kind }, waitedMs / 1000);
  }

  ended(session: Measured, reason: EndReason, beganAt: number, now: number): void {
    const { kind, meter } = session;
    this.#ended.add({ kind, reason });
    for (const [labels, bytes] of bytesOf(session)) this.#bytes.add(labels, bytes);
    if (kind === 'portforward') this.#connections.add({}, meter.connections);
    if (meter.firstOutputAt > 0) this.#firstOutput.observe({ kind }, (meter.firstOutputAt - beganAt) / 1000);
    this.#duration.observe({ kind }, (now - beganAt) / 1000);
  }

  /** `live`: sessions that run; what they have moved so far counts. */
  families(live: readonly Measured[], tickets: number, lagBytes: number): Family[] {
    const bytes = new Counts();
    const connections = new Counts();
    const running = new Counts();
    for (const kind of KINDS) {
      for (const [labels] of bytesOf({ kind, protocol: '', meter: NOTHING })) bytes.add(labels, 0);
    }
    addAll(bytes, this.#bytes.samples());
    addAll(connections, [{ value: 0 }, ...this.#connections.samples()]);
    // A protocol that was ever used is shown with 0 sessions, not with none.
    for (const { labels = {} } of this.#begun.samples()) running.add(labels, 0);
    for (const session of live) {
      running.add({ kind: session.kind, protocol: session.protocol });
      for (const [labels, moved] of bytesOf(session)) bytes.add(labels, moved);
      if (session.kind === 'portforward') connections.add({}, session.meter.connections);
    }
    return [
      gauge('berth_sessions', 'Sessions that run.', running.samples()),
      counter('berth_sessions_total', 'Sessions that have begun.', this.#begun.samples()),
      counter('berth_sessions_ended_total', 'Sessions that have ended, by reason.', this.#ended.samples()),
      counter('berth_session_bytes_total', 'Bytes of sessions, from (in) and to (out) clients.', bytes.samples()),
      counter('berth_forwarded_connections_total', 'Connections of port-forward sessions.', connections.samples()),
      gauge('berth_session_lag_bytes_max', 'How far the session that is furthest behind its container is behind.', lagBytes),
      gauge('berth_tickets', 'Streaming URLs that are valid and unused.', tickets),
      counter('berth_tickets_issued_total', 'Streaming URLs given out.', this.#issued.samples()),
      counter('berth_tickets_used_total', 'Streaming URLs that became sessions.', this.#used.samples()),
      counter('berth_tickets_expired_total', 'Streaming URLs that nobody used.', this.#expired.samples()),
      counter('berth_stream_requests_refused_total', 'HTTP requests that became no session.', this.#refused.samples()),
      histogram('berth_session_connect_seconds', 'From the call that gave the URL to its connection.', this.#connect),
      histogram('berth_session_first_output_seconds', 'From the connection to its first byte of output.', this.#firstOutput),
      histogram('berth_session_duration_seconds', 'How long sessions took, told at their end.', this.#duration),
    ];
  }
}

const NOTHING: Pick<SessionMeter, 'input' | 'stdout' | 'stderr' | 'forwarded'> = { input: 0, stdout: 0, stderr: 0, forwarded: 0 };

type Moved = { readonly kind: SessionKind; readonly meter: typeof NOTHING };

function bytesOf({ kind, meter }: Moved & { readonly protocol?: string }): [Readonly<Record<string, string>>, number][] {
  if (kind === 'portforward') {
    return [
      [{ kind, direction: 'in', stream: 'data' }, meter.input],
      [{ kind, direction: 'out', stream: 'data' }, meter.forwarded],
    ];
  }
  return [
    [{ kind, direction: 'in', stream: 'stdin' }, meter.input],
    [{ kind, direction: 'out', stream: 'stdout' }, meter.stdout],
    [{ kind, direction: 'out', stream: 'stderr' }, meter.stderr],
  ];
}

function addAll(counts: Counts, samples: readonly Sample[]): void {
  for (const { labels = {}, value } of samples) counts.add(labels, value);
}

const histogram = (name: string, help: string, histograms: Histograms): Family => ({
  name,
  help,
  type: 'histogram',
  series: histograms.series(),
});
