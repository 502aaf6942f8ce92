/** What this host and this process can do: read once, handed to everything that decides. */
import { access, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { unless } from '../util/errno.ts';
import { type CgroupLayout, detectCgroups } from './cgroups.ts';

export type HostFacts = {
  readonly cgroups: CgroupLayout;
  /** What the unified hierarchy can limit: `memory`, `cpu` and so on. On a hybrid host they are v1's, and none is left for it. */
  readonly unifiedControllers: readonly string[];
  /** Bit set of the capabilities that this process can give to a container. */
  readonly capabilities: bigint;
  /** Lowest oom_score_adj that can be given; -1000 with CAP_SYS_RESOURCE. */
  readonly lowestOomScoreAdj: number;
  readonly apparmor: boolean;
  /** Whether the profile that LXC gives a container by itself is loaded: without AppArmor's tools the kernel has none. */
  readonly apparmorDefault: boolean;
  readonly selinux: boolean;
  /** `uname -r`, for seccomp profiles with a minKernel. */
  readonly kernel: string;
  /** True when the kernel accounts for swap. */
  readonly swapLimit: boolean;
  /** RLIMIT_NOFILE, the hard one: a number or `unlimited`. */
  readonly openFiles: string;
};

/** capabilities(7): bit numbers that this file needs. */
const CAP_SYS_RESOURCE = 24n;
const OOM_SCORE_ADJ_MIN = -1000;
/** The kernel's hard limit when nobody has changed it (INR_OPEN_MAX). */
const DEFAULT_OPEN_FILES = 4096;

const exists = async (path: string): Promise<boolean> => {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
};

const read = async (path: string): Promise<string> => {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    return '';
  }
};

/** LXC's own choice for a container with a cgroup namespace; Debian's package lxc brings it, the package apparmor loads it. */
const LXC_PROFILE = /^lxc-container-default-cgns \(/m;

/** `undefined` in place of a list: nobody can say, and LXC is left to find out. */
export const hasLxcProfile = (profiles: string | undefined): boolean => profiles === undefined || LXC_PROFILE.test(profiles);

const field = (status: string, name: string): bigint => {
  const match = new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status);
  return match?.[1] === undefined ? 0n : BigInt(`0x${match[1]}`);
};

/** Reads them from the host. */
export const readHostFacts = async (): Promise<HostFacts> => {
  const [cgroups, status, oom, apparmor, profiles, selinux, limits] = await Promise.all([
    detectCgroups(),
    read('/proc/self/status'),
    read('/proc/self/oom_score_adj'),
    read('/sys/module/apparmor/parameters/enabled'),
    unless(['ENOENT', 'EACCES'], readFile('/sys/kernel/security/apparmor/profiles', 'utf8')),
    exists('/sys/fs/selinux/enforce'),
    read('/proc/self/limits'),
  ]);
  const capabilities = field(status, 'CapBnd') & field(status, 'CapPrm');
  const unified = cgroups.hierarchies.find(({ version }) => version === 2);
  const controllers = unified === undefined ? '' : await read(`${unified.base}/cgroup.controllers`);
  const memory = cgroups.hierarchies.find((hierarchy) => hierarchy.controllers.includes('memory'));
  return {
    cgroups,
    unifiedControllers: controllers.split(' ').filter(Boolean),
    capabilities,
    lowestOomScoreAdj: capabilities & (1n << CAP_SYS_RESOURCE) ? OOM_SCORE_ADJ_MIN : Number(oom) || 0,
    apparmor: apparmor === 'Y',
    apparmorDefault: apparmor === 'Y' && hasLxcProfile(profiles),
    selinux,
    kernel: release(),
    openFiles: /^Max open files\s+\S+\s+(\d+|unlimited)/m.exec(limits)?.[1] ?? String(DEFAULT_OPEN_FILES),
    swapLimit: cgroups.limits === 'v2' || (memory !== undefined && (await exists(`${memory.base}/memory.memsw.limit_in_bytes`))),
  };
};
