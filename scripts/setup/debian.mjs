/** The Debian packages that set-up installs when what they bring is not there. */
import { existsSync } from 'node:fs';
import { attempt } from './run.mjs';
import { SetupError, say } from './say.mjs';

/**
 * What runs and builds Berth: package, why, and a file that tells that it is there (any of them; a tool that was installed in
 * another way counts too).
 */
const PACKAGES = [
  { name: 'lxc', files: ['/usr/bin/lxc-start', '/usr/local/bin/lxc-start'] }, // what contains
  { name: 'busybox-static', files: ['/usr/share/doc/busybox-static'] }, // the default image is made of it; `busybox` alone is not static
  { name: 'gcc', files: ['/usr/bin/gcc', '/usr/bin/cc'] }, // builds the shim
  { name: 'libc6-dev', files: ['/usr/include/stdlib.h'] }, // headers, and a static libc should musl be missing
  { name: 'linux-libc-dev', files: ['/usr/include/linux/openat2.h'] }, // kernel interfaces of the shim
  { name: 'libseccomp-dev', files: ['/usr/include/seccomp.h'] }, // compiles seccomp filters
  { name: 'musl-tools', files: ['/usr/bin/musl-gcc'] }, // a shim of tens of KB
  { name: 'make', files: ['/usr/bin/make'] },
  { name: 'iproute2', files: ['/usr/sbin/ip', '/sbin/ip', '/usr/bin/ip', '/bin/ip'] }, // pod networks, and tests that look at them
  { name: 'tar', files: ['/usr/bin/tar', '/bin/tar'] }, // unpacks layers
  { name: 'mount', files: ['/usr/bin/mount', '/bin/mount'] },
  { name: 'util-linux', files: ['/usr/bin/nsenter'] },
  { name: 'bsdutils', files: ['/usr/bin/script'] }, // a terminal for the tests of the command line
  { name: 'procps', files: ['/usr/bin/pgrep'] },
  { name: 'openssl', files: ['/usr/bin/openssl'] }, // certificates of the tests
];

/** apt must neither ask nor wait for ever for another apt. */
const APT_OPTIONS = ['-y', '-q', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3'];

/** Installs what is missing. @param {readonly string[]} [more] packages beside the table, each wanted for sure */
export function installDebianPackages(more = []) {
  const missing = PACKAGES.filter(({ files }) => !files.some((file) => existsSync(file))).map(({ name }) => name);
  missing.push(...more);
  if (missing.length === 0) return;
  if (!existsSync('/usr/bin/apt-get')) {
    throw new SetupError(`these Debian packages (or what your distribution calls them) are missing: ${missing.join(' ')}`);
  }
  say(`installing Debian packages: ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  const install = () => attempt('apt-get', ['install', ...APT_OPTIONS, '--no-install-recommends', ...missing], { env });
  if (install().ok) return;
  // The usual cause: no package lists yet, or lists so old that what they name is gone.
  const update = attempt('apt-get', ['update', ...APT_OPTIONS], { env });
  const second = install();
  if (!second.ok) {
    const words = update.ok ? second.output : `${update.output}${second.output}`;
    throw new SetupError(`apt-get could not install ${missing.join(' ')}:\n${words.trimEnd()}`);
  }
}
