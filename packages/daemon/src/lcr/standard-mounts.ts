/** What every container has mounted without asking: shared memory, message queues, and the files of its pod. */
import type { PlannedMount, SharedMount } from './plan.ts';
import { fileTarget } from './mount-target.ts';
import type { PodPaths } from './paths.ts';
import { invalid } from './refuse.ts';
import type { ContainerTree } from './resolve.ts';
import { refuseBelowShared } from './shared-mounts.ts';

/** Below a /dev of the container's own. They come first: a volume at /dev/shm takes the place of the pod's. */
export const planSharedMemory = (tree: ContainerTree, ipc: 'pod' | 'node', pod: PodPaths): readonly PlannedMount[] => {
  const source = ipc === 'pod' ? pod.shm : '/dev/shm';
  tree.mount({ target: '/dev/shm', host: source });
  return [
    { source, target: '/dev/shm', type: 'none', options: ['bind', 'nosuid', 'nodev', 'noexec', 'create=dir'] },
    { source: 'mqueue', target: '/dev/mqueue', type: 'mqueue', options: ['nosuid', 'nodev', 'noexec', 'create=dir'] },
  ];
};

/**
 * hosts, hostname and resolv.conf. They come last, so that no volume over /etc, or where a link of the image or of a volume leads, hides
 * them; only a volume at exactly such a file takes its place. With a read-only root they are read-only too: the whole pod reads them.
 */
export const planPodFiles = async (
  tree: ContainerTree,
  pod: PodPaths,
  readOnly: boolean,
  shared: readonly SharedMount[],
): Promise<readonly PlannedMount[]> => {
  const field = 'mounts';
  const mounts: PlannedMount[] = [];
  for (const [path, source] of [
    ['/etc/hosts', pod.hosts],
    ['/etc/hostname', pod.hostname],
    ['/etc/resolv.conf', pod.resolvConf],
  ] as const) {
    const found = await tree.resolve(field, path);
    if (found.mount?.target === found.path) continue;
    if (!found.known) throw invalid(field, `${path} leads to ${found.path}`);
    refuseBelowShared(field, found.path, shared);
    const target = await fileTarget(tree, field, path, source);
    mounts.push({
      source,
      target: target.path,
      type: 'none',
      options: ['bind', ...(readOnly ? ['ro'] : []), 'rprivate', ...target.options],
    });
    tree.mount({ target: target.path, host: source });
  }
  return mounts;
};
