/** Version: who answers. */
import type { RuntimeService } from '@berth/cri-api';
import type { Handlers } from './call.ts';
import type { CriDeps } from './deps.ts';

/** What every CRI runtime answers here; cri-client checks it. */
const KUBELET_API_VERSION = '0.1.0';
export const RUNTIME_NAME = 'berth';
export const BERTH_VERSION = '0.1.0';

export const version = (_deps: CriDeps): Pick<Handlers<typeof RuntimeService>, 'version'> => ({
  version: async (_request, { api }) => ({
    version: KUBELET_API_VERSION,
    runtimeName: RUNTIME_NAME,
    runtimeVersion: BERTH_VERSION,
    runtimeApiVersion: api,
  }),
});
