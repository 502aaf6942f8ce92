/** How the LCR runtime says no: one sentence that names the field, a stable code. */
import { BerthError } from '../util/errors.ts';
import { isSafeId } from './paths.ts';

/** The request is wrong in itself. */
export const invalid = (field: string, why: string): BerthError =>
  new BerthError('invalid-argument', 'INVALID_FIELD', `${field}: ${why}`);

/** The field matters and Berth does not honour it (yet): refused by name rather than ignored. */
export const notBuilt = (field: string, why = 'is not built yet'): BerthError =>
  new BerthError('unimplemented', 'FIELD_NOT_SUPPORTED', `${field} ${why}`);

/** The host cannot do what the field asks for. */
export const hostCannot = (field: string, why: string): BerthError =>
  new BerthError('failed-precondition', 'HOST_CANNOT', `${field}: ${why}`);

/** Something of ours or of LXC's failed. */
export const failed = (what: string, cause?: unknown): BerthError =>
  new BerthError(
    'internal',
    'RUNTIME_FAILED',
    cause instanceof Error ? `${what}: ${cause.message}` : what,
    cause instanceof Error ? { cause } : undefined,
  );

/** An id that will be part of a path; refused when it could lead elsewhere. */
export const safeId = (field: string, id: string): string => {
  if (!isSafeId(id)) throw invalid(field, `"${id}" is not an id`);
  return id;
};
