/** What every container has mounted without asking: shared memory, message queues, and the files of its pod. */
import type { PlannedMount, SharedMount } from './plan.ts';
import { mountTarget } from './mount-target.ts';
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
    const { path: real, mount, known, stats } = await tree.resolve(field, path);
    if (mount?.target === real) continue;
    if (!known) throw invalid(field, `${path} leads to ${real}`);
    refuseBelowShared(field, real, shared);
    // An empty mount point may be made in a volume, as other runtimes do, but not in one that is read-only: on the host that one can often
    // be written, and somebody would find it there.
    if (stats === undefined && mount?.readOnly)
      throw invalid(
        field,
        `${real} is to be mounted over, and the read-only volume at ${mount.target} has no such file: make an empty one in it`,
      );
    const { path: target } = await mountTarget(tree, field, path, { name: source, directory: false });
    mounts.push({ source, target, type: 'none', options: ['bind', ...(readOnly ? ['ro'] : []), 'rprivate'] });
    tree.mount({ target, host: source });
  }
  return mounts;
};
