/** PodSandboxStatus, ListPodSandbox. */
import { NamespaceMode, NamespaceOptionSchema, PodSandboxState, type RuntimeService } from '@berth/cri-api';
import { create } from '@bufbuild/protobuf';
import type { Pod } from '../sandbox/pod.ts';
import { BerthError } from '../util/errors.ts';
import type { Handlers } from './call.ts';
import { containerStatus } from './container-status.ts';
import type { CriDeps } from './deps.ts';
import { labelsMatch } from './labels.ts';

export const podStatus = (deps: CriDeps): Pick<Handlers<typeof RuntimeService>, 'podSandboxStatus' | 'listPodSandbox'> => ({
  podSandboxStatus: async ({ podSandboxId, verbose }) => {
    if (podSandboxId === '') throw new BerthError('invalid-argument', 'ID_MISSING', 'missing required pod_sandbox_id');
    const pod = deps.pods.store.get(podSandboxId);
    await deps.pods.refresh([pod]);
    return {
      status: {
        ...summary(pod),
        network: { ip: '' },
        linux: { namespaces: { options: namespaceOptions(pod) } },
      },
      info: verbose ? { info: JSON.stringify({ name: pod.meta.name, bootId: pod.status.bootId, ...pod.status.resources }) } : {},
      containersStatuses: deps.containers.store
        .ofPod(pod.id)
        .filter((container) => container.status.state !== 'creating')
        .map(containerStatus),
      timestamp: deps.now(),
    };
  },

  listPodSandbox: async ({ filter }) => {
    await deps.pods.refresh(deps.pods.store.list());
    return {
      items: deps.pods.store
        .list()
        .filter(
          (pod) =>
            (filter === undefined || filter.id === '' || pod.id.startsWith(filter.id)) &&
            (filter?.state === undefined || stateOf(pod) === filter.state.state) &&
            labelsMatch(pod.meta.spec.config.labels, filter?.labelSelector),
        )
        .map(summary),
    };
  },
});

/** One whose stop was given up by its caller takes no containers any more: a caller that sees it so stops it again. */
const stateOf = (pod: Pod): PodSandboxState => (pod.ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY);

function summary(pod: Pod) {
  const { spec, runtimeHandler, createdAtNs } = pod.meta;
  const { metadata, labels, annotations } = spec.config;
  return {
    id: pod.id,
    ...(metadata === undefined ? {} : { metadata }),
    state: stateOf(pod),
    createdAt: createdAtNs,
    labels,
    annotations,
    runtimeHandler,
  };
}

const namespaceOptions = (pod: Pod) =>
  pod.meta.spec.config.linux?.securityContext?.namespaceOptions ?? create(NamespaceOptionSchema, { pid: NamespaceMode.POD });
