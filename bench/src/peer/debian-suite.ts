/** Downloads packages of other Debian suites than the system's own, with lists and a cache of their own; installs nothing. */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../exec.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Downloads packages of a suite into `work/debs`, from the mirror and through the proxy that the system uses. Package lists and cache
 * stand in `work`, whose owner removes it.
 * @returns the folder with the files
 * @throws Error when apt has no Debian mirror, no keys to check its answer with, or no such package
 */
export const downloadPackages = async (work: string, suite: string, packages: readonly string[]): Promise<string> => {
  if (!existsSync(KEYRING)) throw new Error(`there is no ${KEYRING} to check Debian packages with`);
  const format = ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'];
  const mirror = (await exec('apt-get', format)).split('\n').find((uri) => /\/debian\/?$/.test(uri));
  if (mirror === undefined) throw new Error('apt has no Debian mirror to fetch packages from');
  const [lists, cache, debs] = [join(work, 'lists'), join(work, 'cache'), join(work, 'debs')];
  await Promise.all(
    [join(lists, 'partial'), join(cache, 'archives/partial'), debs].map((path) => mkdir(path, { recursive: true })),
  );
  const sources = join(work, 'debian.sources');
  await writeFile(sources, `Types: deb\nURIs: ${mirror}\nSuites: ${suite}\nComponents: main\nSigned-By: ${KEYRING}\n`);
  const settings = {
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': lists,
    // What this machine has installed must not decide which version is meant.
    'Dir::State::status': '/dev/null',
    'Dir::Cache': cache,
    'Acquire::Languages': 'none',
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await exec('apt-get', [...options, '-q', 'update']);
  await download(debs, [...options, '-q', 'download', ...packages]);
  return debs;
};

/** apt-get puts what it downloads into the current folder. */
export const download = async (folder: string, args: readonly string[]): Promise<void> => {
  await exec('sh', ['-c', 'cd "$1" && shift && exec apt-get "$@"', 'sh', folder, ...args]);
};
