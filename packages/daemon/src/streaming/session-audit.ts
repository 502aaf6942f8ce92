/** The audit lines of a session: one when it begins, one when it ends, with the fields that docs/operations.md names. */
import type { Log } from '../util/log.ts';
import type { EndReason } from './end-reason.ts';
import type { SessionEnd, Ticket } from './handler.ts';
import type { TargetNames } from './live-sessions.ts';
import { type Peer, remoteOf } from './peer.ts';
import type { SessionMeter } from './session-meter.ts';

/** What is known of a session when it begins. */
export type AuditSubject = {
  readonly id: string;
  readonly ticket: Ticket;
  readonly names: TargetNames;
  readonly peer: Peer;
  readonly protocol: string;
  readonly from: 'now' | 'start';
};

/** The end as the daemon saw it. */
export type AuditEnd = { readonly end: SessionEnd; readonly reason: EndReason; readonly ms: number };

/** A path is at most 4096 bytes long; what is longer is no help. */
const MAX_COMMAND_CHARS = 256;

export function auditBegin(log: Log, subject: AuditSubject): void {
  log.info({ event: 'session', phase: 'begin', ...fields(subject) }, 'session begins');
}

export function auditEnd(log: Log, subject: AuditSubject, meter: Readonly<SessionMeter>, { end, reason, ms }: AuditEnd): void {
  const status = meter.told ?? end.status;
  const { stdout, stderr } = meter;
  log.info(
    {
      event: 'session',
      phase: 'end',
      ...fields(subject),
      reason,
      cause: meter.killedBy === undefined ? end.cause : `killed by ${meter.killedBy}`,
      status: status.status,
      ...(status.status === 'Failure' && status.exitCode !== undefined ? { exitCode: status.exitCode } : {}),
      bytesIn: meter.input,
      bytesOut: meter.output,
      ...(subject.ticket.method === 'portforward' ? { connections: meter.connections } : { stdout, stderr }),
      ms: Math.round(ms),
    },
    'session ended',
  );
}

function fields({ id, ticket, names, peer, protocol, from }: AuditSubject): object {
  return {
    session: id,
    kind: ticket.method,
    ...(ticket.method === 'portforward' ? { pod: ticket.podId } : { container: ticket.containerId, pod: names.podId }),
    containerName: names.containerName,
    podName: names.podName,
    podNamespace: names.podNamespace,
    remote: remoteOf(peer),
    clientCertificate: peer.clientCertificate,
    protocol,
    ...request(ticket),
    ...(ticket.method === 'attach' ? { from } : {}),
  };
}

/** Of a command only the program: arguments carry passwords. */
function request(ticket: Ticket): object {
  if (ticket.method === 'portforward') return { ports: ticket.ports };
  const { tty } = ticket;
  const streams = (['stdin', 'stdout', 'stderr'] as const).filter((stream) => ticket[stream]);
  if (ticket.method === 'attach') return { streams, tty };
  return { streams, tty, command: programOf(ticket), arguments: Math.max(0, ticket.command.length - 1) };
}

/** The program of an exec without its arguments. */
export const programOf = ({ command }: { readonly command: readonly string[] }): string =>
  (command[0] ?? '').slice(0, MAX_COMMAND_CHARS);
