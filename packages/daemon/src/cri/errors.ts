/** The one place where Berth's errors become gRPC's. */
import { Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { errnoOf } from '../util/errno.ts';
import { BerthError, type ErrorKind, messageOf } from '../util/errors.ts';

const STATUS_OF_KIND: Readonly<Record<ErrorKind, status>> = {
  'invalid-argument': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'failed-precondition': status.FAILED_PRECONDITION,
  'resource-exhausted': status.RESOURCE_EXHAUSTED,
  unimplemented: status.UNIMPLEMENTED,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  unavailable: status.UNAVAILABLE,
  internal: status.INTERNAL,
};

/** Trailer that carries the stable code: `CONTAINER_NOT_FOUND`. */
export const ERROR_CODE_TRAILER = 'berth-error-code';

/** A full disk may be met wherever something is written, and is no bug. */
export function explained(error: unknown): unknown {
  if (error instanceof BerthError || !NO_SPACE.includes(errnoOf(error) ?? '')) return error;
  return new BerthError(
    'resource-exhausted',
    'NO_SPACE',
    `the disk of the root or the state folder is full; remove images or containers: ${messageOf(error)}`,
    { cause: error },
  );
}

const NO_SPACE: readonly string[] = ['ENOSPC', 'EDQUOT'];

/** gRPC status, message and trailer of whatever a handler has thrown. */
export function toStatus(error: unknown): StatusObject {
  const metadata = new Metadata();
  if (error instanceof BerthError) {
    metadata.set(ERROR_CODE_TRAILER, error.code);
    return { code: STATUS_OF_KIND[error.kind], details: error.message, metadata };
  }
  metadata.set(ERROR_CODE_TRAILER, 'INTERNAL');
  return { code: status.INTERNAL, details: `internal error: ${messageOf(error)}`, metadata };
}

/** What a method without a handler answers. */
export const notBuilt = (wireName: string, method: string): BerthError =>
  new BerthError('unimplemented', 'NOT_BUILT', `${wireName}/${method} is not built yet`);
