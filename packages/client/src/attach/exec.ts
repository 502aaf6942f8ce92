// Exec in one step: the CRI call, the connection to the URL that it returns, and the program's exit code at the end.
import type { BerthClient } from '../connect.ts';
import { type AttachSession, attachStream, type SessionEnd, type StreamOptions } from './attach-stream.ts';

/** What to run, and which of its streams to hold. */
export type ExecOptions<In extends boolean = boolean, Out extends boolean = boolean, Err extends boolean = boolean> = StreamOptions<
  In,
  Out,
  Err
> & {
  /** Program and arguments; no shell is between. */
  readonly cmd: readonly string[];
  /** Gives the program a terminal of its own. */
  readonly tty?: boolean;
};

/** How an exec session ended. */
export type ExecEnd =
  /** By itself, with 0 to 255; 128 + n by signal n. */
  | { readonly kind: 'exited'; readonly exitCode: number }
  /** `detach` was called here. The daemon kills the program of a client that has gone. */
  | { readonly kind: 'detached' };

/** An open session with a program. `detach` ends the program too: it does not outlive its session. */
export type ExecSession<In extends boolean = boolean, Out extends boolean = boolean, Err extends boolean = boolean> = Omit<
  AttachSession<In, Out, Err>,
  'ended'
> & {
  /** Resolves when the program has ended and all its output has come; rejects as that of an attach session, also when it cannot start. */
  readonly ended: Promise<ExecEnd>;
};

/**
 * Runs a program in a running container.
 * @throws RpcError what the daemon refuses (docs/exec.md); AttachRefused and StreamLost when connecting fails.
 */
export async function exec<In extends boolean = false, Out extends boolean = true, Err extends boolean = false>(
  client: BerthClient,
  containerId: string,
  options: ExecOptions<In, Out, Err>,
): Promise<ExecSession<In, Out, Err>> {
  const { cmd, stdin = false, stdout = true, stderr = false, tty = false, signal } = options;
  const request = { containerId, cmd: [...cmd], stdin, stdout, stderr: stderr && !tty, tty };
  const { url } = await client.runtime.exec(request, { signal });
  const session = await attachStream(url, options);
  const ended = session.ended.then(execEnd);
  // As that of the session: a caller that only reads the streams gets the error there.
  ended.catch(() => {});
  return {
    stdin: session.stdin,
    stdout: session.stdout,
    stderr: session.stderr,
    resize: (columns, rows) => session.resize(columns, rows),
    detach: () => session.detach(),
    ended,
  };
}

/** A program's Success is exit code 0. */
const execEnd = (end: SessionEnd): ExecEnd => (end.kind === 'detached' ? end : { kind: 'exited', exitCode: end.exitCode ?? 0 });
