/** The statuses with which sessions end, in one form for all kinds of sessions. */
import type { ExitRecord } from '../stdio/shim.ts';
import type { SessionStatus } from '../transport/transport.ts';

export const SUCCESS: SessionStatus = { status: 'Success' };

/** `reason` is one of docs/errors.md's session reasons. */
export function failure(reason: string, message: string): SessionStatus {
  return { status: 'Failure', reason, message, code: 500 };
}

/** `report`: a non-zero exit is told as `NonZeroExitCode`, as Kubernetes words it; else every exit is a success. */
export function exitStatus(record: ExitRecord, report: boolean): SessionStatus {
  if (!report || record.code === 0) return SUCCESS;
  return {
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: ${record.code}`,
    code: 500,
    exitCode: record.code,
  };
}
