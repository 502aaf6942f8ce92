/** What an error means to the caller; one gRPC status and one HTTP status belong to each (mapped once, in `cri/` and `streaming/`). */
export type ErrorKind =
  | 'invalid-argument'
  | 'not-found'
  | 'already-exists'
  | 'failed-precondition'
  | 'resource-exhausted'
  | 'unimplemented'
  | 'deadline-exceeded'
  | 'unavailable'
  | 'internal';

/** An error that Berth reports to a caller: a kind, a stable code documented in docs/errors.md, one plain sentence. */
export class BerthError extends Error {
  override readonly name = 'BerthError';
  readonly kind: ErrorKind;
  /** Stable, upper snake case, for example `CONTAINER_NOT_FOUND`. */
  readonly code: string;

  constructor(kind: ErrorKind, code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.code = code;
  }
}

/** What an error says, whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
