/** Runs a program in a running container besides init: for Exec and ExecSync. */
import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';
import { commandNotExecutable, commandNotFound } from '../runtime/command-errors.ts';
import { type Program, shimSocketPath } from '../runtime/runtime.ts';
import { ExecFailed, MAX_PROGRAMS, type Shim, ShimLost } from '../stdio/shim.ts';
import { BerthError } from '../util/errors.ts';
import { notRunning } from '../util/not-running.ts';
import type { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { mustRun, mustRunUnfrozen } from './must-run.ts';

/**
 * Starts the program; what comes back is its supervisor. Its output waits until somebody subscribes; closing it kills the program's session.
 * @throws BerthError `CONTAINER_NOT_RUNNING`, `CONTAINER_PAUSED`, `COMMAND_NOT_FOUND`, `COMMAND_NOT_EXECUTABLE`, `WORKING_DIRECTORY`, `EXEC_FAILED`, `TOO_MANY_PROGRAMS`, `TOO_MANY_PROCESSES`, `NO_MEMORY`, `SHIM_LOST`
 */
export async function execInContainer(
  deps: ContainerDeps,
  container: Container,
  program: Program,
  signal: AbortSignal,
): Promise<Shim> {
  await mustRunUnfrozen(deps.runtime, container);
  const settings = await deps.runtime.programFor(container.meta.spec, program);
  try {
    return await deps.connectExec(
      shimSocketPath(deps.state, container.id),
      container.meta.spec.secret,
      settings,
      AbortSignal.any([signal, deps.closing]),
    );
  } catch (error) {
    signal.throwIfAborted();
    // It may have ended while the program was on its way.
    mustRun(container);
    throw execError(error, container, program);
  }
}

function execError(error: unknown, container: Container, { command: [name = ''] }: Program): unknown {
  if (error instanceof ShimLost)
    return new BerthError(
      'unavailable',
      'SHIM_LOST',
      `nothing can be run in container ${container.id}: its supervisor is gone or of an older version`,
      {
        cause: error,
      },
    );
  if (!(error instanceof ExecFailed)) return error;
  if (error.full)
    return new BerthError(
      'resource-exhausted',
      'TOO_MANY_PROGRAMS',
      `container ${container.id} runs ${MAX_PROGRAMS} programs besides its first already, the most allowed`,
    );
  const limit = limitReached(error, container);
  if (limit !== undefined) return limit;
  // The shim sees the end of init before the status does, which waits for the last of the output.
  if (error.step === 'system' && error.errno === constants.errno.ESRCH)
    return notRunning(container.id, 'its first program has ended');
  const why = getSystemErrorMessage(-error.errno) ?? `errno ${error.errno}`;
  switch (error.step) {
    case 'notfound':
      return commandNotFound(name);
    case 'noexec':
      return commandNotExecutable(name, why);
    case 'cwd':
      return new BerthError(
        'failed-precondition',
        'WORKING_DIRECTORY',
        `the container's working directory cannot be entered: ${why}`,
      );
    case 'terminal':
      return new BerthError('failed-precondition', 'EXEC_FAILED', `the container gives no terminal (/dev/ptmx): ${why}`);
    case 'seccomp':
    case 'system':
      return new BerthError('internal', 'EXEC_FAILED', `the command "${name}" could not be run in the container: ${why}`, {
        cause: error,
      });
    default:
      return error.step satisfies never;
  }
}

/** Not the command's fault, and may be otherwise soon: the container, its user or the machine has as much as it may. */
function limitReached({ step, errno }: ExecFailed, { id }: Container): BerthError | undefined {
  if (step !== 'system' && step !== 'noexec') return undefined;
  if (errno === constants.errno.ENOMEM)
    return new BerthError('resource-exhausted', 'NO_MEMORY', `there is no memory for one more program in container ${id}`);
  if (errno !== constants.errno.EAGAIN) return undefined;
  // execve looks at nothing but the limit of the user, whom the program has become right before it.
  const whose =
    step === 'noexec'
      ? `the user of the program has as many processes as one may have (RLIMIT_NPROC), here and elsewhere`
      : `the container has as many processes as it may (kernel.pid_max of its pid namespace), or the machine has`;
  return new BerthError('resource-exhausted', 'TOO_MANY_PROCESSES', `nothing more can be run in container ${id} now: ${whose}`);
}
