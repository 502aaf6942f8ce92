/** Runs the few other programs that the benchmark needs. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Nothing that is run here prints more; a program that does is not the one that was meant. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

/** Runs a program to its end and gives its standard output. @throws Error with what it said on stderr */
export const exec = async (program: string, args: readonly string[], timeoutMs = 300_000): Promise<string> => {
  const { stdout } = await run(program, [...args], { maxBuffer: MAX_OUTPUT_BYTES, timeout: timeoutMs });
  return stdout;
};
