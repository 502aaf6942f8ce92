// Errors as one plain sentence for people, and as an exit status for programs.
import { EXIT } from './exit-codes.ts';
import { visible } from './output/visible.ts';

/** A failure with a sentence of its own and what to do about it. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failure, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** The fields of the client library's RpcError; named here so that errors can be worded without loading gRPC. */
type RpcLike = Error & { readonly status: string; readonly code: string | undefined };

/** Whether this is a failed call of the daemon, and if given, with this stable code. */
export function isRpcError(error: unknown, code?: string): error is RpcLike {
  return error instanceof Error && error.name === 'RpcError' && (code === undefined || (error as RpcLike).code === code);
}

/** Whether the daemon says that what was asked for is not there. */
export const isNotFound = (error: unknown): boolean => isRpcError(error) && error.status === 'NOT_FOUND';

const EXIT_OF_CODE: ReadonlyMap<string, number> = new Map([
  ['COMMAND_NOT_FOUND', EXIT.commandNotFound],
  ['COMMAND_NOT_EXECUTABLE', EXIT.cannotExecute],
]);

/** The exit status that a failed call stands for. */
export const exitCodeOfRpc = (error: RpcLike): number => EXIT_OF_CODE.get(error.code ?? '') ?? EXIT.failure;

/** The exit status that an error stands for. */
export const exitCodeOfError = (error: unknown): number => (error instanceof CliError ? error.exitCode : EXIT.failure);

/** One line, safe to print on a terminal. */
export function sentenceOf(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).trim().replaceAll(/\s*\n\s*/g, ' ');
  // The client library's, recognised by name for the same reason.
  if (error instanceof Error && error.name === 'SessionFailed') return visible(`the session failed: ${text}`);
  const lost = error instanceof Error && error.name === 'StreamLost';
  if (lost && /certificate/i.test(text)) return visible(`${text}; see --tls-ca, --tls-cert and --tls-key of: berth attach --help`);
  return visible(lost ? `${text}; the container is not touched by that, see: berth ps -a` : text);
}

/** A failed call in one sentence: the daemon's own, unless it did not get to say one. */
export function rpcSentence(error: RpcLike, socket: string): string {
  if (error.code !== undefined) return error.message;
  switch (error.status) {
    case 'UNAVAILABLE':
      return unreachable(error, socket);
    case 'DEADLINE_EXCEEDED':
      return `the daemon at ${socket} did not answer in time`;
    case 'UNIMPLEMENTED':
      return `the daemon at ${socket} cannot do this: ${error.message}`;
    default:
      return error.message;
  }
}

function unreachable(error: RpcLike, socket: string): string {
  const start = 'start it with "berthd", or say where it listens with --socket';
  if (error.message.includes('ENOENT')) return `the daemon is not running: there is no socket ${socket}; ${start}`;
  if (error.message.includes('ECONNREFUSED')) return `the daemon is not running: nobody listens at ${socket}; ${start}`;
  if (error.message.includes('EACCES')) return `no permission to use ${socket}; run berth as root`;
  return `the daemon at ${socket} cannot be reached: ${error.message}`;
}
