// Shows a container that was just started from its first byte on, also when it has ended before anybody could attach.
import { finished } from 'node:stream/promises';
import type { Daemon } from '../daemon.ts';
import { CliError, isRpcError } from '../errors.ts';
import { replayLog } from '../logs/show-log.ts';
import { FdWriter } from '../terminal/fd-writer.ts';
import { rawMode } from '../terminal/raw-mode.ts';
import { type Outcome, runSession, type SessionTarget } from './run-session.ts';

const STDOUT = 1;
const STDERR = 2;

/** Attaches from the start; `over` says that the container had ended and its whole log has been written. */
export async function foreground(
  daemon: Daemon,
  target: Omit<SessionTarget, 'from'>,
  interrupted: AbortSignal,
): Promise<Outcome | { readonly kind: 'over' }> {
  try {
    return await runSession(daemon, { ...target, from: 'start' }, interrupted);
  } catch (error) {
    if (!isRpcError(error, 'CONTAINER_NOT_RUNNING')) throw error;
  }
  // A terminal's output has its line ends already; a local one in its usual mode would add to them.
  using _mode = target.stdin && target.tty && process.stdin.isTTY ? rawMode(process.stdin) : undefined;
  return await replay(daemon, target.containerId);
}

async function replay({ client }: Daemon, containerId: string): Promise<Outcome | { readonly kind: 'over' }> {
  const logPath = (await client.runtime.containerStatus({ containerId })).status?.logPath ?? '';
  if (logPath === '') throw new CliError('the container had ended before it could be attached to, and it has no log');
  const sinks = { stdout: new FdWriter(STDOUT), stderr: new FdWriter(STDERR) };
  try {
    const closed = Promise.all([finished(sinks.stdout), finished(sinks.stderr)]);
    closed.catch(() => {});
    await Promise.race([replayLog(logPath, sinks), closed]);
    sinks.stdout.end();
    sinks.stderr.end();
    await closed;
  } catch (error) {
    const unwritable = sinks.stdout.failure ?? sinks.stderr.failure;
    if (unwritable !== undefined) return { kind: 'unwritable', error: unwritable };
    throw error;
  }
  return { kind: 'over' };
}
