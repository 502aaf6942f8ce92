/** StopPodSandbox: ends every container of the pod, then takes its namespaces down. */
import { shownAnyway } from '../util/transactional.ts';
import type { PodDeps } from './deps.ts';
import type { Pod } from './pod.ts';
import type { PodStore } from './store.ts';

/** Stops a pod; idempotent. Containers are killed without a grace period, as CRI has it: kubelet stops them one by one before. */
export async function stopPod(deps: PodDeps, store: PodStore, pod: Pod, signal?: AbortSignal): Promise<void> {
  pod.stopping = true;
  await deps.mutex.run(pod.id, async () => {
    if (!store.has(pod)) return;
    await takeDownPod(deps, pod, signal);
  });
}

/** The stop itself; the caller holds the pod's mutex and has set `stopping`. */
export async function takeDownPod(deps: PodDeps, pod: Pod, signal?: AbortSignal): Promise<void> {
  if (pod.status.state === 'notready') return;
  await Promise.all(deps.containers.store.ofPod(pod.id).map((container) => deps.containers.stop(container, 0, signal)));
  pod.sayGone();
  await deps.runtime.removePod(pod.meta.spec);
  await shownAnyway(
    deps.log,
    { pod: pod.id },
    pod.update((status) => ({ ...status, state: 'notready' }), { keep: true }),
  );
  deps.log.info({ pod: pod.id }, 'pod is stopped');
}
