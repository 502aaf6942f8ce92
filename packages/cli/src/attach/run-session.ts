// One attach session between the user's terminal or pipes and a container.
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { AttachSession, SessionEnd } from '@berth/client';
import type { Daemon } from '../daemon.ts';
import { DetachKeys } from '../terminal/detach-keys.ts';
import { FdWriter } from '../terminal/fd-writer.ts';
import { lineModeWith, rawMode } from '../terminal/raw-mode.ts';
import { followWindow } from './follow-window.ts';

export type SessionTarget = {
  readonly containerId: string;
  readonly tty: boolean;
  /** The end of the input is the end of the container's stdin, not of the session. */
  readonly stdinOnce: boolean;
  readonly stdin: boolean;
  readonly from: 'now' | 'start';
  readonly detachKeys: Uint8Array;
};

/** How it was left. */
export type Outcome =
  | {
      readonly kind: 'ended';
      readonly end: Extract<SessionEnd, { kind: 'status' }>;
      /** The end of the input was sent, and may be the reason: the container may go on. */
      readonly endOfInput: boolean;
    }
  | { readonly kind: 'detached' }
  | { readonly kind: 'signal'; readonly name: NodeJS.Signals }
  /** Stdout or stderr cannot be written: its reader has gone (EPIPE), the disk is full. */
  | { readonly kind: 'unwritable'; readonly error: NodeJS.ErrnoException };

const STDOUT = 1;
const STDERR = 2;
/** Typed or pasted ahead of a container that does not read: beyond this the terminal waits, and with it the detach keys. */
const MAX_TYPED_AHEAD_BYTES = 1024 * 1024;

/**
 * Runs a session to its end. All output has been written when it settles, except to what cannot be written and after a signal. The
 * terminal is as it was.
 * @throws RpcError what the daemon refuses; SessionFailed and StreamLost as the library's `ended`
 */
export async function runSession(daemon: Daemon, target: SessionTarget, interrupted: AbortSignal): Promise<Outcome> {
  const { containerId, tty, stdinOnce, stdin, from } = target;
  const bySignal = (): Outcome => ({ kind: 'signal', name: interrupted.reason as NodeJS.Signals });
  let session: AttachSession;
  try {
    session = await daemon.lib.attach(daemon.client, containerId, {
      stdin,
      stderr: !tty,
      tty,
      from,
      tls: daemon.tls,
      signal: interrupted,
    });
  } catch (error) {
    if (interrupted.aborted) return bySignal();
    throw error;
  }
  using _mode = stdin && process.stdin.isTTY ? (tty ? rawMode(process.stdin) : lineModeWith(target.detachKeys)) : undefined;
  using _window = tty ? followWindow(session) : undefined;
  let unwritable: NodeJS.ErrnoException | undefined;
  let inputEnded = false;
  const write = async (source: AttachSession['stdout'], fd: number): Promise<void> => {
    if (source === undefined) return;
    const sink = new FdWriter(fd);
    try {
      await writeAll(source, sink);
    } catch (error) {
      if (sink.failure === undefined) throw error;
      unwritable ??= sink.failure;
      session.detach();
    }
  };
  const written = Promise.all([write(session.stdout, STDOUT), write(session.stderr, STDERR)]);
  // Its failures are the session's own: looked at below.
  written.catch(() => session.detach());
  if (stdin) {
    void pumpInput(session, target.detachKeys).then((ended) => {
      inputEnded = ended;
    });
  }
  try {
    await Promise.allSettled([session.ended]);
    if (interrupted.aborted) return bySignal();
    await Promise.race([written, once(interrupted, 'abort')]);
    if (interrupted.aborted) return bySignal();
    if (unwritable !== undefined) return { kind: 'unwritable', error: unwritable };
    const end = await session.ended;
    if (end.kind === 'detached') return { kind: 'detached' };
    return { kind: 'ended', end, endOfInput: inputEnded && (tty || !stdinOnce) };
  } finally {
    if (stdin) process.stdin.destroy();
  }
}

/** Writes what the source gives, also what comes before it fails: `ended` tells the failure. @throws what the descriptor refuses */
async function writeAll(source: Readable, sink: FdWriter): Promise<void> {
  source.once('error', () => sink.end());
  source.pipe(sink);
  await finished(sink);
}

/** Waits for room or the end, and takes away the listeners for both: it is called for every piece of a large input. */
async function drained(stdin: Writable): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([once(stdin, 'drain', { signal }), once(stdin, 'close', { signal })]);
  } finally {
    over.abort();
  }
}

/** Passes input on until its end, the detach keys or the session's end; whether it was its end. */
async function pumpInput(session: AttachSession, detachKeys: Uint8Array): Promise<boolean> {
  const { stdin } = session;
  if (stdin === undefined) return false;
  const typed = process.stdin.isTTY;
  const keys = new DetachKeys(typed ? detachKeys : new Uint8Array(0));
  const enough = typed ? MAX_TYPED_AHEAD_BYTES : stdin.writableHighWaterMark;
  try {
    for await (const chunk of process.stdin) {
      const { pass, detach } = keys.push(chunk as Buffer);
      if (pass.length > 0) stdin.write(pass);
      if (detach) {
        session.detach();
        return false;
      }
      while (stdin.writableLength >= enough && !stdin.destroyed) await drained(stdin);
      if (stdin.destroyed) return false;
    }
  } catch {
    // A terminal that has gone, or a session that has ended: `ended` tells the rest. What was read is followed by the end.
  }
  if (stdin.destroyed) return false;
  const held = keys.end();
  if (held.length > 0) stdin.write(held);
  stdin.end();
  return true;
}
