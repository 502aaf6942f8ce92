/** UpdateContainerResources, ReopenContainerLog. */
import type { RuntimeService } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

export const containerUpdates = (
  deps: CriDeps,
): Pick<Handlers<typeof RuntimeService>, 'updateContainerResources' | 'reopenContainerLog'> => ({
  updateContainerResources: async ({ containerId, linux }) => {
    const container = deps.containers.store.get(required(containerId));
    if (linux === undefined) throw new BerthError('invalid-argument', 'RESOURCES_MISSING', 'linux resources are missing');
    await deps.containers.updateResources(container, linux);
    return {};
  },

  reopenContainerLog: async ({ containerId }) => {
    const container = deps.containers.store.get(required(containerId));
    await deps.containers.reopenLog(container);
    await deps.attach.logReopened(container);
    return {};
  },
});

function required(id: string): string {
  if (id === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required container_id');
  return id;
}
