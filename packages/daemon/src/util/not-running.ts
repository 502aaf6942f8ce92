/** What is said, by whichever room notices it, of a container that does not run. */
import { BerthError } from './errors.ts';

/** `CONTAINER_NOT_RUNNING`. `how` says what it does instead: `created`, `exited`; `exitCode` where there is one. */
export function notRunning(containerId: string, how: string, exitCode?: number): BerthError {
  const exit = exitCode === undefined ? '' : ` with code ${exitCode}`;
  return new BerthError('failed-precondition', 'CONTAINER_NOT_RUNNING', `container ${containerId} is not running: ${how}${exit}`);
}
