/** Exec and ExecSync: a program besides init, with a client on its streams or with its output as an answer. */
import type { ExecRequest, RuntimeService } from '@berth/cri-api';
import type { Container } from '../container/container.ts';
import { mustRun, mustRunUnfrozen } from '../container/must-run.ts';
import { collectOutput } from '../stdio/collect-output.ts';
import { answered, type Shim } from '../stdio/shim.ts';
import { Deadline } from '../util/deadline.ts';
import { BerthError } from '../util/errors.ts';
import { settledWithin } from '../util/wait.ts';
import type { Call, Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

/** What an ExecSync answer holds of both streams together: clients take messages of 16 MiB, and this leaves room for the rest of it. */
const MAX_SYNC_OUTPUT_BYTES = 16 * 1024 * 1024 - 64 * 1024;
/** How long killed programs are waited for before the call says that its time is over. */
const KILL_WAIT_MS = 5_000;
/** How long a supervisor may take to say whether its program has ended. */
const ANSWER_MS = 1_000;
const MS_PER_SECOND = 1_000;
/** The longest delay that a timer can count. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const SIGKILL = 9;

export const exec = (deps: CriDeps): Pick<Handlers<typeof RuntimeService>, 'exec' | 'execSync'> => ({
  exec: async (request) => {
    const container = find(deps, request.containerId);
    await mustRunUnfrozen(deps.runtime, container);
    checkCommand(request.cmd);
    checkStreams(request);
    const { stdin, stdout, stderr, tty, cmd } = request;
    return { url: deps.attach.issueExec(container.id, { stdin, stdout, stderr, tty }, cmd) };
  },

  execSync: async ({ containerId, cmd, timeout }, call) => {
    const container = find(deps, containerId);
    // Whether it is frozen is looked at when the program is about to start.
    mustRun(container);
    checkCommand(cmd);
    const { stdout, stderr, exitCode } = await runToEnd(deps, container, cmd, Number(timeout) * MS_PER_SECOND, call);
    return { stdout, stderr, exitCode };
  },
});

function find(deps: CriDeps, id: string): Container {
  if (id === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required container_id');
  return deps.containers.store.get(id);
}

function checkCommand(cmd: readonly string[]): void {
  if (cmd.length === 0 || cmd[0] === '')
    throw new BerthError('invalid-argument', 'COMMAND_MISSING', 'the request names no command');
}

/** As every CRI runtime checks it. */
function checkStreams({ stdin, stdout, stderr, tty }: ExecRequest): void {
  if (tty && stderr) throw new BerthError('invalid-argument', 'TTY_WITH_STDERR', 'tty and stderr cannot both be true');
  if (!stdin && !stdout && !stderr)
    throw new BerthError('invalid-argument', 'NO_STREAM', 'one of stdin, stdout, or stderr must be set');
}

type SyncResult = { readonly stdout: Buffer; readonly stderr: Buffer; readonly exitCode: number };

async function runToEnd(
  deps: CriDeps,
  container: Container,
  cmd: readonly string[],
  timeoutMs: number,
  call: Call,
): Promise<SyncResult> {
  const late = new AbortController();
  const ring = (): void => late.abort(timedOut(container, timeoutMs));
  const timer = timeoutMs > 0 ? new Deadline(Math.min(timeoutMs, MAX_TIMER_MS), ring) : undefined;
  const signal = AbortSignal.any([late.signal, call.signal]);
  try {
    const shim = await deps.containers.exec(container.id, { command: cmd, tty: false, stdin: false }, signal);
    try {
      return await collected(deps, container, shim, late.signal, call.signal);
    } catch (error) {
      const isLate = error === late.signal.reason;
      // Nothing of it runs any more when the caller is told.
      if ((isLate || error === call.signal.reason) && !(await killed(shim)) && isLate)
        throw timedOut(container, timeoutMs, NOT_DEAD);
      throw error;
    } finally {
      shim.close();
    }
  } finally {
    timer?.cancel();
  }
}

async function collected(
  deps: CriDeps,
  container: Container,
  shim: Shim,
  late: AbortSignal,
  ended: AbortSignal,
): Promise<SyncResult> {
  const output = collectOutput(shim, MAX_SYNC_OUTPUT_BYTES).catch((cause: Error) => {
    throw new BerthError('unavailable', 'SHIM_LOST', `the program in container ${container.id} was lost: ${cause.message}`, {
      cause,
    });
  });
  output.catch(() => undefined);
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(ended.reason as Error);
  // One that has ended in time is not late: what is waited for is output that it has left to others, and that has its own limit.
  const ring = (): void =>
    // A supervisor that does not answer says nothing for it.
    void answered(shim.gone(), ANSWER_MS)
      .catch(() => false)
      .then((gone) => gone || aborted.reject(late.reason as Error));
  ended.addEventListener('abort', abort, { once: true });
  late.addEventListener('abort', ring, { once: true });
  if (ended.aborted) abort();
  if (late.aborted) ring();
  try {
    const { stdout, stderr, dropped, exit } = await Promise.race([output, aborted.promise]);
    void shim.leave();
    if (dropped === 0) return { stdout, stderr, exitCode: exit.code };
    deps.log.warn({ container: container.id, dropped }, 'ExecSync output was cut off');
    return { stdout, stderr: Buffer.concat([stderr, Buffer.from(cutOff(dropped))]), exitCode: exit.code };
  } finally {
    ended.removeEventListener('abort', abort);
    late.removeEventListener('abort', ring);
  }
}

/** False where it was not dead in time. */
async function killed(shim: Shim): Promise<boolean> {
  return await settledWithin(
    shim.signal(SIGKILL, true).then(() => shim.exit),
    KILL_WAIT_MS,
  );
}

const cutOff = (dropped: number): string =>
  `\n[berth: ${dropped} more bytes of output were cut off: an ExecSync answer holds ${MAX_SYNC_OUTPUT_BYTES} bytes]\n`;

const NOT_DEAD = `was not dead ${KILL_WAIT_MS / MS_PER_SECOND} s after it had been killed: frozen, or held up in the kernel`;

const timedOut = ({ id }: Container, ms: number, whatThen = 'was killed'): BerthError =>
  new BerthError(
    'deadline-exceeded',
    'EXEC_TIMEOUT',
    `the command did not end within ${ms / MS_PER_SECOND} s in container ${id} and ${whatThen}`,
  );
