// What a call of the daemon throws when it fails: gRPC's status, with Berth's stable code beside it.
import { type ServiceError, status } from '@grpc/grpc-js';

/** Trailer in which the daemon sends its stable code: `CONTAINER_NOT_FOUND`. */
const BERTH_CODE_TRAILER = 'berth-error-code';

/** What gRPC's resolver of addresses has noted ends its sentence, and for a path it notes nothing. */
const NO_NOTE = /\.? Resolution note: $/;

/** Name of a gRPC status: `NOT_FOUND`. */
export type RpcStatus = keyof typeof status;

/** A call that failed. `message` is the daemon's own sentence. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  /** gRPC status by name. */
  readonly status: RpcStatus;
  /** Berth's stable code (docs/errors.md); undefined when the daemon did not answer or is another runtime. */
  readonly code: string | undefined;
  /** The method that was called: `/runtime.v1.RuntimeService/Attach`. */
  readonly method: string;

  constructor(init: { status: RpcStatus; code: string | undefined; method: string; message: string }, options?: ErrorOptions) {
    super(init.message, options);
    this.status = init.status;
    this.code = init.code;
    this.method = init.method;
  }
}

/** What a call of a client that is closed, or is being closed, ends with. */
export const clientClosed = (method: string): RpcError =>
  new RpcError({ status: 'CANCELLED', code: undefined, method, message: 'the client is closed' });

/** Turns grpc-js' error of this method into ours. */
export function toRpcError(method: string, error: ServiceError): RpcError {
  const [code] = error.metadata?.get(BERTH_CODE_TRAILER) ?? [];
  return new RpcError(
    {
      status: (status[error.code] ?? 'UNKNOWN') as RpcStatus,
      code: code === undefined ? undefined : String(code),
      method,
      message: (error.details === '' ? error.message : error.details).replace(NO_NOTE, ''),
    },
    { cause: error },
  );
}
