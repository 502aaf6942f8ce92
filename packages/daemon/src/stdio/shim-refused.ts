/** An answer of a shim that is an errno. */

/** The shim could not do what was asked; `code` is the errno's name. */
export class ShimRefused extends Error {
  override readonly name = 'ShimRefused';
  readonly code: string;

  constructor(errno: number) {
    const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
    super(`the shim refused: ${code}`);
    this.code = code;
  }
}

/** The errors that a caller tells apart or an operator reads often (Linux numbers). */
const ERRNO_NAMES = new Map([
  [1, 'EPERM'],
  [2, 'ENOENT'],
  [3, 'ESRCH'],
  [13, 'EACCES'],
  [20, 'ENOTDIR'],
  [22, 'EINVAL'],
  [24, 'EMFILE'],
  [28, 'ENOSPC'],
  [30, 'EROFS'],
  [40, 'ELOOP'],
]);
