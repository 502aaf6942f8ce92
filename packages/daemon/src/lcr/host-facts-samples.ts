/** Two hosts for tests: one like the machines Berth was built on, one with cgroup v2 only. */
import type { HostFacts } from './host-facts.ts';
import { CAPABILITIES } from './capabilities.ts';

const ALL = (1n << BigInt(CAPABILITIES.length)) - 1n;

/** cgroup v1 with single controllers, unified beside them, no CAP_SYS_RESOURCE. */
export const V1: HostFacts = {
  cgroups: {
    limits: 'v1',
    hierarchies: [
      ...['cpu', 'cpuset', 'memory', 'devices', 'pids', 'name=systemd'].map((name) => ({
        version: 1 as const,
        controllers: [name],
        base: `/sys/fs/cgroup/${name.replace('name=', '')}`,
        daemonElsewhere: false,
      })),
      { version: 2, controllers: [], base: '/sys/fs/cgroup/unified', daemonElsewhere: false },
    ],
  },
  unifiedControllers: [],
  capabilities: ALL & ~(1n << 24n),
  lowestOomScoreAdj: 0,
  apparmor: false,
  apparmorDefault: false,
  selinux: false,
  kernel: '6.18.0-test',
  swapLimit: true,
  openFiles: '524288',
};

/** cgroup v2, all capabilities, AppArmor. */
export const V2: HostFacts = {
  ...V1,
  cgroups: { limits: 'v2', hierarchies: [{ version: 2, controllers: [], base: '/sys/fs/cgroup', daemonElsewhere: true }] },
  unifiedControllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids'],
  capabilities: ALL,
  lowestOomScoreAdj: -1000,
  apparmor: true,
  apparmorDefault: true,
};
