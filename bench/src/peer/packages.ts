/** Fetches containerd and runc as packages of Debian's newest suite and unpacks them beside the system, which stays as it is. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../exec.ts';

const SUITE = 'sid';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
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
  if (!existsSync(KEYRING)) throw new Error(`the peer comes as Debian packages, and there is no ${KEYRING} to check them with`);
  await mkdir(join(dir, '..'), { recursive: true });
  const work = await mkdtemp(`${dir}.`);
  try {
    const unpacked = join(work, 'unpacked');
    await download(work);
    for (const file of await readdir(join(work, 'debs'))) {
      const library = LIBRARIES.some((name) => file.startsWith(`${name}_`));
      const tool = file.startsWith('patchelf_');
      await exec('dpkg-deb', ['-x', join(work, 'debs', file), tool ? join(work, 'tools') : join(unpacked, library ? 'lib' : '')]);
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

/** Downloads with package lists and cache of its own; from the mirror and through the proxy that the system uses. */
const download = async (work: string): Promise<void> => {
  const format = ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'];
  const mirror = (await exec('apt-get', format)).split('\n').find((uri) => /\/debian\/?$/.test(uri));
  if (mirror === undefined) throw new Error('apt has no Debian mirror to fetch the peer from');
  const [sources, lists, cache, debs] = ['debian.sources', 'lists', 'cache', 'debs'].map((name) => join(work, name)) as [
    string,
    string,
    string,
    string,
  ];
  await Promise.all(
    [join(lists, 'partial'), join(cache, 'archives/partial'), debs].map((path) => mkdir(path, { recursive: true })),
  );
  await writeFile(sources, `Types: deb\nURIs: ${mirror}\nSuites: ${SUITE}\nComponents: main\nSigned-By: ${KEYRING}\n`);
  const settings = {
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': lists,
    'Dir::Cache': cache,
    'Acquire::Languages': 'none',
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await exec('apt-get', [...options, '-q', 'update']);
  // apt-get puts what it downloads into the current folder.
  await exec('sh', [
    '-c',
    'cd "$1" && shift && exec apt-get "$@"',
    'sh',
    debs,
    ...options,
    '-q',
    'download',
    ...PACKAGES,
    ...LIBRARIES,
  ]);
  await exec('sh', ['-c', 'cd "$1" && exec apt-get -q download patchelf', 'sh', debs]);
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
