/** UpdateContainerResources: applies new limits and remembers them. */
import { type LinuxContainerResources, LinuxContainerResourcesSchema } from '@berth/cri-api';
import { clone } from '@bufbuild/protobuf';
import { BerthError } from '../util/errors.ts';
import type { Container } from './container.ts';
import type { ContainerDeps } from './deps.ts';

/** Applies limits to a created or running container. Fields that are not set (0 or empty) stay as they are. */
export async function updateContainerResources(
  deps: ContainerDeps,
  container: Container,
  change: LinuxContainerResources,
): Promise<void> {
  await deps.mutex.run(container.id, async () => {
    const { state, removing } = container.status;
    if (removing || (state !== 'created' && state !== 'running')) {
      const shown = removing ? 'being removed' : state;
      throw new BerthError(
        'failed-precondition',
        'CONTAINER_ENDED',
        `container ${container.id} is ${shown}; limits can be set while it is created or running`,
      );
    }
    await deps.runtime.updateResources(container.meta.spec, change);
    await container.update((status) => ({ ...status, resources: mergeResources(effectiveResources(container), change) }), {
      keep: true,
    });
  });
}

/** The limits that hold now. */
export function effectiveResources(container: Container): LinuxContainerResources | undefined {
  return container.status.resources ?? container.meta.spec.config.linux?.resources;
}

/** Proto3 cannot tell unset from 0: what is 0 or empty in the change stays as it was, as in other runtimes. */
export function mergeResources(
  before: LinuxContainerResources | undefined,
  change: LinuxContainerResources,
): LinuxContainerResources {
  const merged = clone(LinuxContainerResourcesSchema, change);
  if (before === undefined) return merged;
  merged.cpuPeriod ||= before.cpuPeriod;
  merged.cpuQuota ||= before.cpuQuota;
  merged.cpuShares ||= before.cpuShares;
  merged.memoryLimitInBytes ||= before.memoryLimitInBytes;
  merged.memorySwapLimitInBytes ||= before.memorySwapLimitInBytes;
  merged.oomScoreAdj ||= before.oomScoreAdj;
  merged.cpusetCpus ||= before.cpusetCpus;
  merged.cpusetMems ||= before.cpusetMems;
  if (merged.hugepageLimits.length === 0) merged.hugepageLimits = before.hugepageLimits;
  merged.unified = { ...before.unified, ...change.unified };
  return merged;
}
