/** Status, RuntimeConfig, UpdateRuntimeConfig: what this runtime can do. */
import { CgroupDriver, type RuntimeService } from '@berth/cri-api';
import { RUNTIME_HANDLERS } from '../sandbox/run.ts';
import { messageOf } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';
import { BERTH_VERSION } from './version.ts';

export const status = (
  deps: CriDeps,
): Pick<Handlers<typeof RuntimeService>, 'status' | 'runtimeConfig' | 'updateRuntimeConfig'> => ({
  status: async (request) => ({
    status: {
      conditions: [
        await runtimeReady(deps),
        {
          type: 'NetworkReady',
          status: false,
          reason: 'NetworkPluginNotReady',
          message: 'CNI is not built yet: pods with host network work, others have loopback only',
        },
      ],
    },
    runtimeHandlers: RUNTIME_HANDLERS.map((name) => ({ name, features: { recursiveReadOnlyMounts: true, userNamespaces: false } })),
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
    info: request.verbose ? await verboseInfo(deps) : {},
  }),

  runtimeConfig: async () => ({ linux: { cgroupDriver: CgroupDriver.CGROUPFS } }),

  // The pod network range is CNI's business; kubelet must get no error.
  updateRuntimeConfig: async () => ({}),
});

/** Without LXC no container can be started; kubelet then gives this node no more pods, and says why. */
async function runtimeReady({ runtime }: CriDeps): Promise<{ type: string; status: boolean; reason?: string; message?: string }> {
  try {
    await runtime.version();
    return { type: 'RuntimeReady', status: true };
  } catch (error) {
    return { type: 'RuntimeReady', status: false, reason: 'LxcUnusable', message: messageOf(error) };
  }
}

async function verboseInfo(deps: CriDeps): Promise<Record<string, string>> {
  return {
    version: JSON.stringify({
      berth: BERTH_VERSION,
      runtime: deps.runtime.name,
      // Missing where the condition above says why.
      runtimeVersion: await deps.runtime.version().catch(() => undefined),
      node: process.version,
    }),
    config: JSON.stringify(deps.settings),
  };
}
