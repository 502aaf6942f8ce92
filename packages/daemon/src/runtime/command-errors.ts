/** What is said of a command that cannot be run, whether as a container's init or besides it. */
import { BerthError } from '../util/errors.ts';

export const commandNotFound = (name: string): BerthError =>
  new BerthError('invalid-argument', 'COMMAND_NOT_FOUND', `the command "${name}" was not found in the container`);

export const commandNotExecutable = (name: string, why: string): BerthError =>
  new BerthError('invalid-argument', 'COMMAND_NOT_EXECUTABLE', `the command "${name}" cannot be executed: ${why}`);
