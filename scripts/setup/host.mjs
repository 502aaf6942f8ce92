/** Set-up's first question: can this machine run LXC containers at all? Answers in words that say what is missing. */
import { existsSync, readFileSync } from 'node:fs';
import { nodePackage, pinnedNodeVersion } from './paths.mjs';
import { attempt } from './run.mjs';
import { SetupError } from './say.mjs';

/** CAP_SYS_ADMIN's bit (linux/capability.h): without it no namespace and no mount can be made. */
const CAP_SYS_ADMIN = 21n;

/** The namespaces that every container gets. */
const NAMESPACES = ['mnt', 'pid', 'net', 'ipc', 'uts'];

/** Throws a SetupError that names everything that stands in the way. */
export function checkHost() {
  if (process.platform !== 'linux') {
    throw new SetupError(
      `this is ${process.platform}; Berth runs Linux containers and needs Linux (Debian 12 or newer), for example in a virtual machine.`,
    );
  }
  const problems = [];
  if (process.getuid?.() !== 0)
    problems.push('you are not root: run it as root (for example with sudo); containers, mounts and cgroups need it');
  if (pinnedNodeVersion() === undefined) problems.push(`there is no ${nodePackage}: the processor must be x64 or arm64`);
  if (process.getuid?.() === 0) problems.push(...kernelProblems());
  if (problems.length > 0)
    throw new SetupError(`containers cannot run here:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
}

/** @returns {string[]} what the kernel, or the container that this already runs in, does not allow */
function kernelProblems() {
  const problems = [];
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(read('/proc/self/status'))?.[1];
  if (effective !== undefined && (BigInt(`0x${effective}`) & (1n << CAP_SYS_ADMIN)) === 0n) {
    problems.push('root lacks CAP_SYS_ADMIN here: in a container, start that container as privileged');
  }
  const missing = NAMESPACES.filter((name) => !existsSync(`/proc/self/ns/${name}`));
  if (missing.length > 0) problems.push(`the kernel has no ${missing.join(', ')} namespaces`);
  if (!knowsOverlay()) problems.push('the kernel knows no overlay filesystem, and `modprobe overlay` brings none');
  const cgroups = read('/proc/self/mounts')
    .split('\n')
    .filter((line) => / cgroup2? /.test(line));
  if (cgroups.length === 0) problems.push('no cgroup hierarchy is mounted below /sys/fs/cgroup');
  else if (cgroups.every((line) => /^(\S+ ){3}ro\b/.test(line)))
    problems.push('cgroups are mounted read-only: in a container, start that container as privileged');
  return problems;
}

/** A Debian machine that has run no container yet has not loaded the module: that is no problem, loading it is our business. */
function knowsOverlay() {
  const known = () => /\toverlay$/m.test(read('/proc/filesystems')) || existsSync('/sys/module/overlay');
  // A `su` without `-` leaves out where modprobe is.
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
  return known() || (attempt('modprobe', ['overlay'], { env }).ok && known());
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
