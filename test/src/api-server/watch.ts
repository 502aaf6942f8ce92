/** `watch=true` on pods: asks the runtime again and again and sends what has changed. */
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, type Cluster, type VersionedPod } from './cluster.ts';
import { type PodRequest, selectedName } from './requests.ts';

const POLL_MS = 50;

/** Sends every pod once, then each change, until the client leaves. */
export async function watchPods(cluster: Cluster, { namespace, query }: PodRequest, response: ServerResponse): Promise<void> {
  if (query.get('sendInitialEvents') !== null) {
    // The answer at which clients list and then watch.
    throw new ApiError(422, 'Invalid', 'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled');
  }
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.flushHeaders();
  const known = new Map<string, VersionedPod>();
  const send = (type: string, object: VersionedPod): void => {
    response.write(`${JSON.stringify({ type, object })}\n`);
  };
  while (!response.destroyed && !response.writableEnded) {
    const pods = await cluster.list(namespace, selectedName(query));
    for (const pod of pods) {
      const before = known.get(pod.metadata.name);
      if (before?.metadata.resourceVersion === pod.metadata.resourceVersion) continue;
      send(before === undefined ? 'ADDED' : 'MODIFIED', pod);
      known.set(pod.metadata.name, pod);
    }
    for (const [name, pod] of known) {
      if (pods.some(({ metadata }) => metadata.name === name)) continue;
      send('DELETED', pod);
      known.delete(name);
    }
    await sleep(POLL_MS);
  }
}
