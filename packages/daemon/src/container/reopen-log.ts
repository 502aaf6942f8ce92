/** ReopenContainerLog: a new file at the log's path, once somebody has renamed the old one. */
import { answered, ShimLost } from '../stdio/shim.ts';
import { ShimRefused } from '../stdio/shim-refused.ts';
import { BerthError } from '../util/errors.ts';
import type { Container } from './container.ts';
import { mustRun, shimOfRunning, noAnswer } from './must-run.ts';

/**
 * Does nothing for a container without a log, as other runtimes.
 * @throws BerthError `CONTAINER_NOT_RUNNING`, `LOG_REFUSED`, `SHIM_LOST`
 */
export async function reopenLog(container: Pick<Container, 'id' | 'status' | 'shim'>): Promise<void> {
  const shim = shimOfRunning(container);
  if (!shim.welcome.hasLog) return;
  try {
    await answered(shim.reopenLog());
  } catch (error) {
    mustRun(container);
    if (error instanceof ShimLost) throw noAnswer(container, error);
    if (!(error instanceof ShimRefused)) throw error;
    throw new BerthError(
      'failed-precondition',
      'LOG_REFUSED',
      `the log of container ${container.id} cannot be reopened (${error.code}); the file that it had is still written to`,
      { cause: error },
    );
  }
}
