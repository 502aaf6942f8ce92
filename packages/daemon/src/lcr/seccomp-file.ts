/** Compiled seccomp policies: each text once, whatever number of containers has it, however many are created at once. */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { unless } from '../util/errno.ts';
import type { LcrHost } from './lcr-host.ts';
import { seccompCompiler, seccompDirectory } from './paths.ts';
import { must } from './spawn.ts';

/** By path of the filter: compilations that are under way. */
const compiling = new Map<string, Promise<void>>();

/** Gives the path of the filter that the policy text means; it is named after the text. */
export const seccompFile = async (host: LcrHost, text: string): Promise<string> => {
  const directory = seccompDirectory(host.config);
  const path = `${directory}/${createHash('sha256').update(text).digest('hex').slice(0, 32)}.bpf`;
  if (await unless(['ENOENT'], stat(path))) return path;
  let running = compiling.get(path);
  if (running === undefined) {
    running = compile(host, text, directory, path).finally(() => compiling.delete(path));
    compiling.set(path, running);
  }
  await running;
  return path;
};

const compile = async (host: LcrHost, text: string, directory: string, path: string): Promise<void> => {
  const temporary = `${path}.${process.hrtime.bigint()}`;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    await writeFile(`${temporary}.policy`, text, { mode: 0o600 });
    await must(seccompCompiler(host.config), [`${temporary}.policy`, temporary]);
    await rename(temporary, path);
  } finally {
    await Promise.all([rm(`${temporary}.policy`, { force: true }), rm(temporary, { force: true })]);
  }
};
