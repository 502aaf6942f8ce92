/** CreateContainer: reserves the name, writes the intent, lets the runtime make it. */
import type { ContainerConfig } from '@berth/cri-api';
import type { Image } from '../image/image.ts';
import type { PodSpec } from '../runtime/runtime.ts';
import { BerthError } from '../util/errors.ts';
import { newId, newSecret } from '../util/ids.ts';
import { whileSyncing } from '../util/records.ts';
import { Container, type ContainerMeta } from './container.ts';
import type { ContainerDeps } from './deps.ts';
import { metaToJson } from './record.ts';
import { created, initialStatus } from './status.ts';
import type { ContainerStore } from './store.ts';

/**
 * Makes a container in a pod. Takes it into the store before the first await: from then on the pod's stop and removal see it and wait.
 * @throws BerthError what the runtime refuses, `CONTAINER_EXISTS`; nothing is left behind then.
 */
export async function createContainer(
  deps: ContainerDeps,
  store: ContainerStore,
  pod: PodSpec,
  config: ContainerConfig,
  image: Image,
): Promise<Container> {
  const meta: ContainerMeta = {
    spec: { id: newId(), pod, config, image, secret: newSecret() },
    name: containerName(pod, config),
    runtime: deps.runtime.name,
    createdAtNs: deps.now(),
  };
  const container = new Container(meta, initialStatus(deps.bootId), deps.records);
  store.add(container);
  return deps.mutex.run(container.id, async () => {
    try {
      await deps.records.create(container.id, metaToJson(meta));
      const made = await whileSyncing(deps.records.sync(container.id), deps.runtime.createContainer(meta.spec));
      await container.update(created(made));
    } catch (error) {
      await undo(deps, container);
      store.delete(container);
      throw error;
    }
    deps.log.info({ container: container.id, pod: pod.id, name: meta.name }, 'container created');
    return container;
  });
}

/** The runtime leaves nothing behind when it throws; but the status may have failed to be written after it had succeeded. */
async function undo(deps: ContainerDeps, container: Container): Promise<void> {
  try {
    await deps.runtime.removeContainer(container.meta.spec);
    await deps.records.remove(container.id);
  } catch (error) {
    deps.log.error(
      { container: container.id, err: error },
      'a half-made container could not be cleaned up; the next start tries again',
    );
  }
}

/** As kubelet makes container names unique: name, pod, attempt. */
function containerName(pod: PodSpec, config: ContainerConfig): string {
  const { metadata } = config;
  if (metadata === undefined || metadata.name === '') {
    throw new BerthError('invalid-argument', 'CONTAINER_NAME_MISSING', 'config.metadata.name of the container is missing');
  }
  return `${metadata.name}_${pod.id}_${metadata.attempt}`;
}
