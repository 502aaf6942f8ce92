/** Checks a RunPodSandbox request field by field before anything is made. */
import type { PodSandboxConfig } from '@berth/cri-api';
import { whyNoCgroupPath } from '../util/cgroup-path.ts';
import type { HostFacts } from './host-facts.ts';
import { type PodNamespaces, podNamespaces } from './namespaces.ts';
import { podHostname } from './pod-files.ts';
import { invalid, notBuilt } from './refuse.ts';
import { refuseSelinux } from './security-profiles.ts';

export type CheckedPod = {
  readonly namespaces: PodNamespaces;
  readonly hostname: string;
  /** `name=value`, as berth-shim takes them. */
  readonly sysctls: readonly string[];
};

/** Sysctls that one pod may set: as many as berth-shim takes. */
const MAX_SYSCTLS = 256;

/** @throws BerthError naming the first field that is wrong or not honoured. */
export const checkPod = (config: PodSandboxConfig, id: string, facts: HostFacts): CheckedPod => {
  const namespaces = podNamespaces(config);
  if (config.windows) throw invalid('windows', 'this is a Linux host');
  const mapped = config.portMappings.findIndex((mapping) => mapping.hostPort !== 0);
  if (mapped !== -1 && namespaces.network === 'pod')
    throw notBuilt(
      `port_mappings[${mapped}].host_port`,
      'needs a network plugin (CNI), which is not built yet; use the host network or no host port',
    );
  checkCgroupParent(config.linux?.cgroupParent ?? '');
  // `linux.overhead` and `linux.resources` tell what the pod's cgroup, which is the caller's, has been given. Seccomp, user, groups and read-only root of a sandbox are about a pause process; there is none, or it is the shim's own.
  refuseSelinux(config.linux?.securityContext?.selinuxOptions, facts);
  return {
    namespaces,
    hostname: podHostname(config, id, namespaces.network),
    sysctls: checkSysctls(config.linux?.sysctls ?? {}, namespaces),
  };
};

/** Nothing that could lead out of the cgroup mounts; empty: the daemon's own. */
export const checkCgroupParent = (parent: string): void => {
  const why = parent === '' ? undefined : whyNoCgroupPath(parent);
  if (why !== undefined) throw invalid('linux.cgroup_parent', why);
};

/** Which namespace a sysctl belongs to: sysctl/net, sysctl/kernel and sysctl/fs of the kernel's documentation. */
const owner = (name: string): 'net' | 'ipc' | 'uts' | undefined => {
  if (name.startsWith('net.')) return 'net';
  if (/^kernel\.(shm(all|max|mni|_rmid_forced)|msg(max|mnb|mni)|sem)$/.test(name) || name.startsWith('fs.mqueue.')) return 'ipc';
  if (name === 'kernel.domainname') return 'uts';
  return undefined;
};

const checkSysctls = (sysctls: Readonly<Record<string, string>>, namespaces: PodNamespaces): readonly string[] => {
  const entries = Object.entries(sysctls);
  if (entries.length > MAX_SYSCTLS) throw invalid('linux.sysctls', `more than ${MAX_SYSCTLS}`);
  return entries.map(([given, value]) => {
    const field = `linux.sysctls["${given}"]`;
    // Callers write dots or slashes; a name with both (an interface name with a dot) would be ambiguous for the shim.
    if (given.includes('.') && given.includes('/')) throw notBuilt(field, 'mixes dots and slashes, which is not built yet');
    const name = given.replaceAll('/', '.');
    if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(name)) throw invalid(field, 'not a sysctl name');
    if (/[\0\n]/.test(value)) throw invalid(field, 'the value must be one line');
    switch (owner(name)) {
      case 'net':
        if (namespaces.network === 'node') throw invalid(field, 'the pod has the network of the host');
        break;
      case 'ipc':
        if (namespaces.ipc === 'node') throw invalid(field, 'the pod has the IPC namespace of the host');
        break;
      case 'uts':
        break;
      default:
        throw invalid(field, 'does not belong to a namespace: it would change the host');
    }
    return `${name}=${value}`;
  });
};
