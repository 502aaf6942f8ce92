/** Finds pods in which nothing can run any more: nobody tells the daemon, so it looks when it is asked how they are. */
import type { PodDeps } from './deps.ts';
import type { Pod } from './pod.ts';
import { stopPod } from './stop.ts';
import type { PodStore } from './store.ts';

/** Shows a pod that has ended by itself as not ready, so that kubelet makes another one. Never rejects, and waits for no stop. */
export async function refreshPod(deps: PodDeps, store: PodStore, pod: Pod): Promise<void> {
  if (!pod.ready) return;
  try {
    if ((await deps.runtime.podRuns(pod.meta.spec)) || !pod.ready) return;
  } catch (error) {
    return deps.log.warn({ pod: pod.id, err: error }, 'it cannot be told whether a pod runs');
  }
  deps.log.warn({ pod: pod.id }, 'the first process of a shared pid namespace has ended, and everything in the pod with it');
  endPod(deps, store, pod);
}

/** What fails is done by the StopPodSandbox or RemovePodSandbox that a pod that is not ready gets. */
export function endPod(deps: PodDeps, store: PodStore, pod: Pod): void {
  pod.ended = true;
  stopPod(deps, store, pod).catch((error: unknown) =>
    deps.log.error({ pod: pod.id, err: error }, 'a pod that has ended could not be stopped'),
  );
}
