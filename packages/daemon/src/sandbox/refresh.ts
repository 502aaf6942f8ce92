/** Finds pods in which nothing can run any more: nobody tells the daemon, so it looks when it is asked how they are. */
import type { PodDeps } from './deps.ts';
import type { Pod } from './pod.ts';
import { stopPod } from './stop.ts';
import type { PodStore } from './store.ts';

/** Stops a pod that has ended by itself, so that kubelet, which sees it as not ready, makes another one. Never rejects. */
export async function refreshPod(deps: PodDeps, store: PodStore, pod: Pod): Promise<void> {
  const stands = (): boolean => pod.status.state === 'ready' && !pod.stopping;
  try {
    if (!stands() || (await deps.runtime.podRuns(pod.meta.spec)) || !stands()) return;
    deps.log.warn({ pod: pod.id }, 'the first process of a shared pid namespace has ended, and everything in the pod with it');
    await stopPod(deps, store, pod);
  } catch (error) {
    // Whoever asks next tries again.
    pod.stopping = false;
    deps.log.error({ pod: pod.id, err: error }, 'a pod that has ended could not be stopped');
  }
}
