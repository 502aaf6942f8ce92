// A session's status as it stands on the wire.

import { exitCodeStatus, failureStatus, successStatus, type WireStatus } from '@berth/attach-protocol';
import type { SessionStatus } from './transport.ts';

export function wireStatus(status: SessionStatus): WireStatus {
  if (status.status === 'Success') return successStatus();
  return status.exitCode === undefined
    ? failureStatus(status.message, status.reason, status.code)
    : exitCodeStatus(status.exitCode, status.message);
}
