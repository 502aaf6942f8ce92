/** Why a session ended, as one word of a fixed list: for metrics, audit lines and alerts (docs/operations.md). */
import type { SessionEnd } from './handler.ts';
import type { SessionMeter } from './session-meter.ts';

export const END_REASONS = Object.freeze([
  /** The container, or the program of an exec, has ended, with whatever code. */
  'Exited',
  /** The client said that its input had ended, and was shown what came of it. */
  'InputEnded',
  'ClientGone',
  'ProtocolError',
  'SlowClient',
  'LagLimit',
  'OutputLost',
  'SupervisorLost',
  'IdleTimeout',
  'PodStopped',
  /** The daemon stops. */
  'SessionEnded',
  'SessionKilled',
  'InternalError',
  'Other',
] as const);

export type EndReason = (typeof END_REASONS)[number];

/** Reasons of Failure statuses that are called otherwise here. */
const OF_STATUS: Readonly<Record<string, EndReason>> = { NonZeroExitCode: 'Exited' };
/** Causes that a Success status does not tell from an exit, and those of sessions that have no status. */
const OF_CAUSE: Readonly<Record<string, EndReason>> = { 'stdin ended': 'InputEnded', 'idle time-out': 'IdleTimeout' };

/** What was seen on the connection goes before what the session made of it. */
export function endReason(meter: SessionMeter, { status, cause }: SessionEnd): EndReason {
  if (meter.killedBy !== undefined) return 'SessionKilled';
  if (meter.destroyed) return 'SessionEnded';
  if (meter.lost !== undefined) return meter.lost.startsWith('client broke the protocol') ? 'ProtocolError' : 'ClientGone';
  const told = meter.told ?? status;
  if (told.status === 'Success') return OF_CAUSE[cause] ?? 'Exited';
  return OF_STATUS[told.reason] ?? END_REASONS.find((reason) => reason === told.reason) ?? 'Other';
}
