/** RemovePodSandbox: stops the pod, removes its containers, forgets it. */
import { shownAnyway } from '../util/transactional.ts';
import type { PodDeps } from './deps.ts';
import type { Pod } from './pod.ts';
import { takeDownPod } from './stop.ts';
import type { PodStore } from './store.ts';

/** Removes a pod in any state with everything in it. Idempotent; may be repeated when it failed half way. */
export async function removePod(deps: PodDeps, store: PodStore, pod: Pod, signal?: AbortSignal): Promise<void> {
  pod.stopping = true;
  await deps.mutex.run(pod.id, async () => {
    if (!store.has(pod)) return;
    await takeDownPod(deps, pod, signal);
    // As for containers: a full disk does not stand in the way of what makes room.
    await shownAnyway(
      deps.log,
      { pod: pod.id },
      pod.update((status) => ({ ...status, removing: true }), { keep: true }),
    );
    await Promise.all(deps.containers.store.ofPod(pod.id).map((container) => deps.containers.remove(container, signal)));
    await deps.runtime.removePod(pod.meta.spec);
    await deps.records.remove(pod.id);
    store.delete(pod);
    deps.log.info({ pod: pod.id }, 'pod removed');
  });
}
