/** Fetches containerd and runc as packages of Debian's newest suite and unpacks them beside the system, which stays as it is. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../exec.ts';
import { download, downloadPackages } from './debian-suite.ts';

const SUITE = 'sid';
/** The peer, and the libraries that it is built against. */
const PACKAGES = ['containerd', 'runc'];
const LIBRARIES = ['libc6', 'libseccomp2'];

/**
 * @param dir where the unpacked packages are kept; nothing is fetched when they are there
 * @returns the folder with the programs
 */
export const fetchPeer = async (dir: string): Promise<string> => {
  const programs = join(dir, 'usr/bin');
  if (existsSync(programs)) return programs;
  await mkdir(join(dir, '..'), { recursive: true });
  const work = await mkdtemp(`${dir}.`);
  try {
    const unpacked = join(work, 'unpacked');
    const debs = await downloadPackages(work, SUITE, [...PACKAGES, ...LIBRARIES]);
    await download(debs, ['-q', 'download', 'patchelf']);
    for (const file of await readdir(debs)) {
      const library = LIBRARIES.some((name) => file.startsWith(`${name}_`));
      const tool = file.startsWith('patchelf_');
      await exec('dpkg-deb', ['-x', join(debs, file), tool ? join(work, 'tools') : join(unpacked, library ? 'lib' : '')]);
    }
    await rename(unpacked, dir);
    await bindLibraries(dir, join(work, 'tools/usr/bin/patchelf'));
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return programs;
};

/** On an older system runc runs with the C library of its own suite, found by absolute path because it executes itself. */
const bindLibraries = async (dir: string, patchelf: string): Promise<void> => {
  const runc = join(dir, 'usr/bin/runc');
  if (await runs(runc)) return;
  const loaders = ['x86_64-linux-gnu/ld-linux-x86-64.so.2', 'aarch64-linux-gnu/ld-linux-aarch64.so.1'];
  const loader = loaders.map((path) => join(dir, 'lib/usr/lib', path)).find((path) => existsSync(path));
  if (loader === undefined) throw new Error('no C library for the peer on this processor');
  await exec(patchelf, ['--set-interpreter', loader, '--set-rpath', join(loader, '..'), runc]);
  await exec(runc, ['--version']);
};

const runs = async (program: string): Promise<boolean> => {
  try {
    await exec(program, ['--version']);
    return true;
  } catch {
    return false;
  }
};
