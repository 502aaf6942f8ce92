/** RunPodSandbox, StopPodSandbox, RemovePodSandbox. */
import type { RuntimeService } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

export const podLifecycle = (
  deps: CriDeps,
): Pick<Handlers<typeof RuntimeService>, 'runPodSandbox' | 'stopPodSandbox' | 'removePodSandbox'> => ({
  runPodSandbox: async ({ config, runtimeHandler }) => {
    if (config === undefined) throw new BerthError('invalid-argument', 'POD_CONFIG_MISSING', 'config of the pod is missing');
    const pod = await deps.pods.run(config, runtimeHandler);
    return { podSandboxId: pod.id };
  },

  // CRI: stopping or removing what is not there is no error.
  stopPodSandbox: async ({ podSandboxId }, { signal }) => {
    const pod = deps.pods.store.find(required(podSandboxId));
    if (pod !== undefined) await deps.pods.stop(pod, signal);
    return {};
  },

  removePodSandbox: async ({ podSandboxId }, { signal }) => {
    const pod = deps.pods.store.find(required(podSandboxId));
    if (pod !== undefined) await deps.pods.remove(pod, signal);
    return {};
  },
});

/** An empty id is a client's mistake, never "nothing to do". */
function required(id: string): string {
  if (id === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required pod_sandbox_id');
  return id;
}
