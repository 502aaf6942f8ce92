/** Which namespaces a pod has and a container joins: CRI's NamespaceOption against what the pod was made with. */
import { type NamespaceOption, NamespaceMode, type PodSandboxConfig } from '@berth/cri-api';
import type { PodPaths } from './paths.ts';
import type { PlannedNamespaces } from './plan.ts';
import { invalid, safeId, notBuilt } from './refuse.ts';

/** What a pod's namespaces are, after defaults: CRI's zero value is POD. */
export type PodNamespaces = {
  readonly network: 'pod' | 'node';
  readonly ipc: 'pod' | 'node';
  readonly pid: 'pod' | 'container' | 'node';
};

const AT = 'linux.security_context.namespace_options';

/** @throws BerthError naming the field for a mode that a pod cannot have. */
export const podNamespaces = (config: PodSandboxConfig): PodNamespaces => {
  const options = config.linux?.securityContext?.namespaceOptions;
  userNamespace(options);
  const pid = options?.pid ?? NamespaceMode.POD;
  if (pid === NamespaceMode.TARGET) throw invalid(`${AT}.pid`, 'TARGET is for containers');
  return {
    network: podOrNode('network', options?.network),
    ipc: podOrNode('ipc', options?.ipc),
    pid: pid === NamespaceMode.NODE ? 'node' : pid === NamespaceMode.CONTAINER ? 'container' : 'pod',
  };
};

const podOrNode = (name: string, mode: NamespaceMode | undefined): 'pod' | 'node' => {
  if (mode === undefined || mode === NamespaceMode.POD) return 'pod';
  if (mode === NamespaceMode.NODE) return 'node';
  throw invalid(`${AT}.${name}`, 'must be POD or NODE');
};

const userNamespace = (options: NamespaceOption | undefined): void => {
  const user = options?.usernsOptions;
  if (user === undefined) return;
  if (user.mode !== NamespaceMode.NODE) throw notBuilt(`${AT}.userns_options`, 'with a mode other than NODE is not built yet');
  if (user.uids.length > 0 || user.gids.length > 0)
    throw invalid(`${AT}.userns_options`, 'mappings need a user namespace, the mode is NODE');
};

export type JoinedNamespaces = { readonly namespaces: PlannedNamespaces; readonly pidTarget?: string };

/** What a container joins and what is made for it. Network and IPC are the pod's, whatever its own options say of them. */
export const containerNamespaces = (
  options: NamespaceOption | undefined,
  pod: PodNamespaces,
  paths: PodPaths,
): JoinedNamespaces => {
  userNamespace(options);
  if (options?.network === NamespaceMode.NODE && pod.network !== 'node')
    throw invalid(`${AT}.network`, 'NODE in a pod that has a network of its own');
  if (options?.ipc === NamespaceMode.NODE && pod.ipc !== 'node')
    throw invalid(`${AT}.ipc`, 'NODE in a pod that has an IPC namespace of its own');
  const pid = pidMode(options, pod);
  return {
    namespaces: {
      clone: ['mnt', 'cgroup', ...(pid === 'container' ? (['pid'] as const) : [])],
      share: {
        ...(pod.network === 'pod' ? { net: paths.net } : {}),
        ...(pod.ipc === 'pod' ? { ipc: paths.ipc } : {}),
        uts: paths.uts,
        ...(pid === 'pod' ? { pid: paths.pid } : {}),
      },
    },
    ...(pid === 'target' ? { pidTarget: safeId(`${AT}.target_id`, options?.targetId ?? '') } : {}),
  };
};

const pidMode = (options: NamespaceOption | undefined, pod: PodNamespaces): 'pod' | 'container' | 'node' | 'target' => {
  switch (options?.pid) {
    case undefined:
      return pod.pid;
    case NamespaceMode.POD:
      if (pod.pid === 'pod') return 'pod';
      if (pod.pid === 'node') return 'node';
      throw invalid(`${AT}.pid`, 'POD, but the pod was made without a shared pid namespace');
    case NamespaceMode.CONTAINER:
      return 'container';
    case NamespaceMode.NODE:
      if (pod.pid !== 'node') throw invalid(`${AT}.pid`, 'NODE in a pod that does not have the pid namespace of the host');
      return 'node';
    case NamespaceMode.TARGET:
      return 'target';
    default:
      throw invalid(`${AT}.pid`, 'unknown mode');
  }
};
