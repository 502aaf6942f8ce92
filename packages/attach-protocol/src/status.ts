// The status that ends a session: Kubernetes' metav1.Status, as JSON since v4, as bare text before.

import type { Subprotocol } from './subprotocols.ts';

/** The part of metav1.Status that these protocols use. Other keys are allowed and ignored. */
export type WireStatus = {
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
  readonly code?: number;
};

/** `reason` of a failure of the server itself. */
export const REASON_INTERNAL_ERROR = 'InternalError';
/** `reason` when the command ended by itself with another exit code than 0; the code is a cause. */
export const REASON_NON_ZERO_EXIT_CODE = 'NonZeroExitCode';
/** `reason` of the cause that holds the exit code, as decimal text in its message. */
const CAUSE_EXIT_CODE = 'ExitCode';
const HTTP_INTERNAL_SERVER_ERROR = 500;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** All went well. */
export function successStatus(): WireStatus {
  return { metadata: {}, status: 'Success' };
}

/** A failure that has nothing to do with an exit code. */
export function failureStatus(
  message: string,
  reason: string = REASON_INTERNAL_ERROR,
  code: number = HTTP_INTERNAL_SERVER_ERROR,
): WireStatus {
  return { metadata: {}, status: 'Failure', message, reason, code };
}

/** The command ended by itself with this exit code, 1 to 255. */
export function exitCodeStatus(
  exitCode: number,
  message = `command terminated with non-zero exit code: exit status ${exitCode}`,
): WireStatus {
  return {
    metadata: {},
    status: 'Failure',
    message,
    reason: REASON_NON_ZERO_EXIT_CODE,
    details: { causes: [{ reason: CAUSE_EXIT_CODE, message: String(exitCode) }] },
    code: HTTP_INTERNAL_SERVER_ERROR,
  };
}

/**
 * What goes onto the status channel, or undefined when the protocol says nothing: the old ones carry text and only on failure, so that
 * a clean close without a status is their success.
 */
export function encodeStatus(protocol: Pick<Subprotocol, 'status'>, status: WireStatus): Uint8Array | undefined {
  if (protocol.status === 'json') return encoder.encode(JSON.stringify(status));
  if (status.status === 'Success') return undefined;
  return encoder.encode(status.message ?? status.reason ?? 'failed');
}

/**
 * Reads a status message; for clients. Undefined when it is no status: an empty message (servers may send one first) or JSON of
 * another shape.
 */
export function decodeStatus(protocol: Subprotocol, payload: Uint8Array): WireStatus | undefined {
  if (payload.length === 0) return undefined;
  const text = decoder.decode(payload);
  if (protocol.status === 'plain') return failureStatus(text);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isWireStatus(parsed) ? parsed : undefined;
}

/**
 * The exit code that a status tells, undefined when it does not say. Success is 0 for the command of an exec. For an attach it says that
 * the session ended well: servers send it for every exit code, and when the input has ended and the container goes on.
 */
export function exitCodeOf(status: WireStatus, method: 'attach' | 'exec'): number | undefined {
  if (status.status === 'Success') return method === 'exec' ? 0 : undefined;
  if (status.reason !== REASON_NON_ZERO_EXIT_CODE) return undefined;
  const cause = status.details?.causes?.find((each) => each.reason === CAUSE_EXIT_CODE);
  return cause?.message !== undefined && /^\d{1,3}$/.test(cause.message) ? Number(cause.message) : undefined;
}

function isWireStatus(value: unknown): value is WireStatus {
  if (typeof value !== 'object' || value === null || !('status' in value)) return false;
  if (value.status !== 'Success' && value.status !== 'Failure') return false;
  const { message, reason, details } = value as { message?: unknown; reason?: unknown; details?: unknown };
  const isText = (field: unknown): boolean => field === undefined || typeof field === 'string';
  return isText(message) && isText(reason) && (details === undefined || hasCauses(details));
}

function hasCauses(details: unknown): boolean {
  if (typeof details !== 'object' || details === null) return false;
  const { causes } = details as { causes?: unknown };
  return causes === undefined || (Array.isArray(causes) && causes.every((cause) => typeof cause === 'object' && cause !== null));
}
