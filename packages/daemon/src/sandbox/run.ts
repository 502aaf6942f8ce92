/** RunPodSandbox: reserves the name, writes the intent, lets the runtime make the namespaces. */
import type { PodSandboxConfig } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import { newId } from '../util/ids.ts';
import { whileSyncing } from '../util/records.ts';
import type { PodDeps } from './deps.ts';
import { Pod, type PodMeta } from './pod.ts';
import { podToJson } from './record.ts';
import type { PodStore } from './store.ts';

/** Handlers that mean LCR. */
export const RUNTIME_HANDLERS: readonly string[] = ['', 'lcr'];

/**
 * Makes a pod that is ready when this resolves.
 * @throws BerthError `RUNTIME_HANDLER_UNKNOWN`, `POD_EXISTS`, what the runtime refuses; nothing is left behind then.
 */
export async function runPod(deps: PodDeps, store: PodStore, config: PodSandboxConfig, runtimeHandler: string): Promise<Pod> {
  if (!RUNTIME_HANDLERS.includes(runtimeHandler)) {
    throw new BerthError(
      'invalid-argument',
      'RUNTIME_HANDLER_UNKNOWN',
      `there is no runtime handler "${runtimeHandler}"; Berth has "lcr"`,
    );
  }
  const meta: PodMeta = { spec: { id: newId(), config }, name: podName(config), runtimeHandler, createdAtNs: deps.now() };
  const pod = new Pod(meta, { state: 'creating', removing: false, bootId: deps.bootId, resources: {} }, deps.records);
  store.add(pod);
  try {
    await deps.records.create(pod.id, podToJson(meta));
    const resources = await whileSyncing(deps.records.sync(pod.id), deps.runtime.createPod(meta.spec));
    await pod.update((status) => ({ ...status, state: 'ready', resources }));
  } catch (error) {
    await undo(deps, pod);
    store.delete(pod);
    throw error;
  }
  deps.log.info({ pod: pod.id, name: meta.name }, 'pod is ready');
  return pod;
}

async function undo(deps: PodDeps, pod: Pod): Promise<void> {
  try {
    await deps.runtime.removePod(pod.meta.spec);
    await deps.records.remove(pod.id);
  } catch (error) {
    deps.log.error({ pod: pod.id, err: error }, 'a half-made pod could not be cleaned up; the next start tries again');
  }
}

/** As kubelet makes pods unique. */
function podName(config: PodSandboxConfig): string {
  const { metadata } = config;
  if (metadata === undefined || metadata.name === '') {
    throw new BerthError('invalid-argument', 'POD_NAME_MISSING', 'config.metadata.name of the pod is missing');
  }
  return `${metadata.name}_${metadata.namespace}_${metadata.uid}_${metadata.attempt}`;
}
