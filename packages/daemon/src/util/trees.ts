/** Removes folders with everything in them, whatever a container or an image has put there. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errnoOf } from './errno.ts';

const run = promisify(execFile);

/** The tar of a daemon that was killed may write for a moment longer, until it notices that its input has ended. */
const REMOVE_ATTEMPTS = 20;
const REMOVE_PAUSE_MS = 50;

/** Removes trees. Not with Node's own `rm`: names in images need not be UTF-8, and it would keep the event loop busy. */
export async function removeTrees(paths: readonly string[]): Promise<void> {
  for (let attempt = 1; paths.length > 0; attempt++) {
    try {
      await run('rm', ['--recursive', '--force', '--one-file-system', '--', ...paths]);
      return;
    } catch (error) {
      if (attempt === REMOVE_ATTEMPTS) throw error;
      await sleep(REMOVE_PAUSE_MS);
    }
  }
}

/** Removes a tree that is mostly small. Idempotent. Deeper than a path can be long, which any container can make, Node cannot reach. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== 'ENAMETOOLONG') throw error;
    await removeTrees([path]);
  }
}
