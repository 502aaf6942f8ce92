/** CreateContainer, StartContainer, StopContainer, RemoveContainer. */
import type { RuntimeService } from '@berth/cri-api';
import type { Image } from '../image/image.ts';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

const MS_PER_SECOND = 1_000;

export const containerLifecycle = (
  deps: CriDeps,
): Pick<Handlers<typeof RuntimeService>, 'createContainer' | 'startContainer' | 'stopContainer' | 'removeContainer'> => ({
  createContainer: async ({ podSandboxId, config }) => {
    if (podSandboxId === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required pod_sandbox_id');
    if (config === undefined)
      throw new BerthError('invalid-argument', 'CONTAINER_CONFIG_MISSING', 'config of the container is missing');
    const pod = deps.pods.store.get(podSandboxId);
    const container = await deps.pods.createContainer(pod, config, findImage(deps, config.image?.image ?? ''));
    return { containerId: container.id };
  },

  startContainer: async ({ containerId }) => {
    await deps.pods.startContainer(deps.containers.store.get(required(containerId)));
    return {};
  },

  // CRI: stopping or removing what is not there is no error.
  stopContainer: async ({ containerId, timeout }, { signal }) => {
    const container = deps.containers.store.find(required(containerId));
    if (container !== undefined) await deps.containers.stop(container, Number(timeout) * MS_PER_SECOND, signal);
    return {};
  },

  removeContainer: async ({ containerId }, { signal }) => {
    const container = deps.containers.store.find(required(containerId));
    if (container !== undefined) await deps.containers.remove(container, signal);
    return {};
  },
});

function findImage(deps: CriDeps, reference: string): Image {
  if (reference === '') throw new BerthError('invalid-argument', 'IMAGE_MISSING', 'config.image.image of the container is missing');
  const image = deps.images.find(reference);
  if (image !== undefined) return image;
  throw new BerthError(
    'not-found',
    'IMAGE_NOT_FOUND',
    `the image "${reference}" is not there; import it with: berth image import FILE --name ${reference}`,
  );
}

function required(id: string): string {
  if (id === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required container_id');
  return id;
}
