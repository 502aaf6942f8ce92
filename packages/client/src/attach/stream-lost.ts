// How an attach session can end without having ended: what callers must never take for success.

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
