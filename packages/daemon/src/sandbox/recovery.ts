/**
 * What the daemon does with the pods that it finds on disk at its start. Complete ones come into the store before the containers do;
 * half-made ones and those whose removal had begun are taken down after their containers.
 */
import { PodSandboxConfigSchema } from '@berth/cri-api';
import { create } from '@bufbuild/protobuf';
import type { PodSpec } from '../runtime/runtime.ts';
import type { PodDeps } from './deps.ts';
import { Pod } from './pod.ts';
import { endPod } from './refresh.ts';
import { parsePod, parsePodStatus } from './record.ts';
import type { PodStore } from './store.ts';

/** What has to be taken down once no container stands in the way. */
export type DoomedPod = { readonly spec: PodSpec; readonly why: string };

/** Fills the store; gives what must be finished by `finishPods`. */
export async function recoverPods(deps: PodDeps, store: PodStore): Promise<DoomedPod[]> {
  const doomed: DoomedPod[] = [];
  for (const id of await deps.records.list()) {
    const meta = parsePod(await deps.records.read(id, 'record'));
    const status = parsePodStatus(await deps.records.read(id, 'status'));
    if (meta === undefined || meta.spec.id !== id)
      doomed.push({ spec: { id, config: create(PodSandboxConfigSchema) }, why: 'it has no complete record' });
    else if (status === undefined) doomed.push({ spec: meta.spec, why: 'it was being created when the daemon ended' });
    else if (status.removing) doomed.push({ spec: meta.spec, why: 'its removal had begun' });
    else store.add(new Pod(meta, status, deps.records));
  }
  return doomed;
}

/** After the containers: takes doomed pods down, and shows pods whose namespaces are gone, as after a reboot, as not ready. */
export async function finishPods(deps: PodDeps, store: PodStore, doomed: readonly DoomedPod[]): Promise<void> {
  for (const { spec, why } of doomed) {
    deps.log.warn({ pod: spec.id, why }, 'cleaning up after a pod');
    await attempt(deps, spec.id, async () => {
      await deps.runtime.removePod(spec);
      await deps.records.remove(spec.id);
    });
  }
  for (const pod of store.list()) {
    if (pod.status.state === 'notready') continue;
    await attempt(deps, pod.id, async () => {
      if (pod.status.bootId === deps.bootId) {
        // Containers may run in what is left of it: they end before what they use is taken away.
        if (!(await deps.runtime.podStands(pod.meta.spec))) endPod(deps, store, pod);
        return;
      }
      await deps.runtime.removePod(pod.meta.spec);
      await pod.update((status) => ({ ...status, state: 'notready' }), { keep: true });
    });
  }
}

/** One pod that cannot be taken down does not keep the daemon from serving the others. */
async function attempt(deps: PodDeps, id: string, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    deps.log.error({ pod: id, err: error }, 'a pod could not be recovered; the next start tries again');
  }
}
