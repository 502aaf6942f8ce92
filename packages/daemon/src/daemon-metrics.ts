/** What the daemon as a whole shows to Prometheus: pods and containers by state, shims, and which program this is. */
import type { Containers } from './container/containers.ts';
import type { ContainerState } from './container/status.ts';
import { BERTH_VERSION } from './cri/version.ts';
import { counter, type Family, gauge } from './observability/metric.ts';
import type { PodState } from './sandbox/pod.ts';
import type { Pods } from './sandbox/pods.ts';

/** Those that are still being created are nobody's business. */
const CONTAINER_STATES: readonly ContainerState[] = ['created', 'starting', 'running', 'exited', 'unknown'];
const POD_STATES: readonly PodState[] = ['ready', 'notready'];

/** @param logLinesLost of the daemon's own log */
export function daemonMetrics(pods: Pods, containers: Containers, logLinesLost: number): Family[] {
  const all = containers.store.list();
  const shims = all.flatMap((container) => container.shim() ?? []);
  return [
    gauge('berth_build_info', 'Which program this is; always 1.', [
      { labels: { version: BERTH_VERSION, node: process.version }, value: 1 },
    ]),
    gauge('berth_pods', 'Pods by state.', byState(POD_STATES, pods.store.list())),
    gauge('berth_containers', 'Containers by state.', byState(CONTAINER_STATES, all)),
    gauge('berth_shims', 'Supervisors that the daemon is connected to.', shims.length),
    gauge(
      'berth_container_log_lost_bytes',
      'Output that is missing in the logs of the containers that run, because it could not be written.',
      shims.reduce((sum, { logBytesLost }) => sum + logBytesLost, 0),
    ),
    counter('berth_daemon_log_lost_lines_total', "Lines of the daemon's own log that could not be written.", logLinesLost),
  ];
}

function byState<S extends string>(states: readonly S[], all: readonly { readonly status: { readonly state: string } }[]) {
  return states.map((state) => ({ labels: { state }, value: all.filter(({ status }) => status.state === state).length }));
}
