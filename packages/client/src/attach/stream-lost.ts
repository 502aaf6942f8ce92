// How a session can end without having ended: what callers must never take for success.
import type { WireStatus } from '@berth/attach-protocol';

/** The connection was lost before the session's status came: nobody knows how the session went on. */
export class StreamLost extends Error {
  override readonly name = 'StreamLost';
  /** WebSocket close code; 1006 when the connection just ended. */
  readonly closeCode: number;

  constructor(message: string, closeCode: number, options?: ErrorOptions) {
    super(message, options);
    this.closeCode = closeCode;
  }
}

/**
 * The daemon has ended the session before its time (it stops, an operator has, the client was too far behind, output is gone), or the
 * program of an exec could not be started. What came before is true; nobody knows from this how the container goes on.
 */
export class SessionFailed extends Error {
  override readonly name = 'SessionFailed';
  /** What has happened, as docs/errors.md lists it: `SessionKilled`, `LagLimit`, ... Undefined where another runtime gives none. */
  readonly reason: string | undefined;
  /** The whole status. */
  readonly status: WireStatus;

  constructor(status: WireStatus) {
    super(status.message ?? status.reason ?? 'no reason given');
    this.reason = status.reason;
    this.status = status;
  }
}

/** The streaming server refused the connection: a used or expired ticket, no common protocol. */
export class AttachRefused extends Error {
  override readonly name = 'AttachRefused';
  /** HTTP status of the answer. */
  readonly httpStatus: number;

  constructor(httpStatus: number, message: string) {
    super(message);
    this.httpStatus = httpStatus;
  }
}
