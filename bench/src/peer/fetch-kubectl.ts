/**
 * For the interop tests: fetches kubectl of several ages as packages of Debian's suites and unpacks each beside the system, which stays
 * as it is. Prints one path a line, oldest first. `node fetch-kubectl.ts FOLDER`
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { downloadPackages } from './debian-suite.ts';
import { exec } from '../exec.ts';

/** 1.20 (SPDY only), 1.32 (WebSocket v5) and the newest (1.36 or newer: shows earlier output on `run -i`). */
const AGES = [
  { suite: 'bookworm', name: 'kubernetes-client' },
  { suite: 'trixie', name: 'kubectl' },
  { suite: 'sid', name: 'kubectl' },
];

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: fetch-kubectl.ts FOLDER');
await mkdir(folder, { recursive: true });
for (const { suite, name } of AGES) {
  const target = join(folder, `kubectl-${suite}-${process.arch}`);
  if (!existsSync(target)) await fetchOne(suite, name, target);
  process.stdout.write(`${target}\n`);
}

async function fetchOne(suite: string, name: string, target: string): Promise<void> {
  process.stderr.write(`berth: fetching kubectl of Debian ${suite}\n`);
  const work = await mkdtemp(`${target}.`);
  try {
    const debs = await downloadPackages(work, suite, [name]);
    for (const file of await readdir(debs)) await exec('dpkg-deb', ['-x', join(debs, file), join(work, 'unpacked')]);
    const program = join(work, 'unpacked/usr/bin/kubectl');
    // A program of a newer suite may want a newer C library: better said here than by every test.
    await exec(program, ['version', '--client']);
    await rename(program, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
