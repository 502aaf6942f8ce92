/** What the system said of a call that failed. */

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
