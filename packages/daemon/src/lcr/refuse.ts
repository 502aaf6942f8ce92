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

/** The errno name of a failed system call, `undefined` for anything else. */
export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** Runs a file operation and takes these errnos as `undefined`. */
export const unless = async <T>(codes: readonly string[], work: Promise<T>): Promise<T | undefined> => {
  try {
    return await work;
  } catch (error) {
    if (codes.includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
};

/** An id that will be part of a path; refused when it could lead elsewhere. */
export const safeId = (field: string, id: string): string => {
  if (!isSafeId(id)) throw invalid(field, `"${id}" is not an id`);
  return id;
};
