/** The API server's plain requests: discovery, pods, logs. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { json as readJson } from 'node:stream/consumers';
import { room } from '../room.ts';
import { ApiError, type Cluster } from './cluster.ts';
import { DISCOVERY } from './discovery.ts';
import { lastLines, logContent } from './log-content.ts';
import type { PodManifest } from './pod-object.ts';
import { type PodRequest, podRequest, selectedName } from './requests.ts';
import { watchPods } from './watch.ts';

/** Serves one plain request. @throws ApiError */
export async function serve(cluster: Cluster, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const found = DISCOVERY[url.pathname];
  if (found !== undefined) return sendJson(response, 200, found);
  const wanted = podRequest(url);
  if (wanted === undefined) throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
  const { namespace, name, subresource, query } = wanted;
  switch (`${request.method} ${name === '' ? 'all' : 'one'} ${subresource}`.trim()) {
    case 'GET all':
      return query.get('watch') === null ? await list(cluster, wanted, response) : await watchPods(cluster, wanted, response);
    case 'POST all': {
      const manifest = (await readJson(request)) as PodManifest;
      const { pod, started } = cluster.create({ ...manifest, metadata: { namespace, ...manifest.metadata } });
      // As a kubelet that cannot start a container: the pod stays where it is, and the test's time-out tells.
      started.catch((error: unknown) => process.stderr.write(`pod ${pod.name}: ${String(error)}\n`));
      return sendJson(response, 201, await cluster.show(pod));
    }
    case 'GET one':
      return sendJson(response, 200, await cluster.show(cluster.get(namespace, name)));
    case 'DELETE one':
      return sendJson(response, 200, await cluster.delete(namespace, name));
    case 'GET one log':
      return await sendLog(cluster, wanted, response);
    case 'PATCH one ephemeralcontainers': {
      const pod = cluster.get(namespace, name);
      const patch = (await readJson(request)) as Partial<Pick<PodManifest, 'spec'>>;
      await pod.addEphemeral(patch.spec?.ephemeralContainers ?? []);
      return sendJson(response, 200, await cluster.show(pod));
    }
    default:
      throw new ApiError(405, 'MethodNotAllowed', `${request.method} is not served for ${url.pathname}`);
  }
}

/** The error as Kubernetes' Status. */
export function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const { code, reason, message } =
    error instanceof ApiError ? error : { code: 500, reason: 'InternalError', message: String(error) };
  sendJson(response, code, { apiVersion: 'v1', kind: 'Status', metadata: {}, status: 'Failure', code, reason, message });
}

async function list(cluster: Cluster, { namespace, query }: PodRequest, response: ServerResponse): Promise<void> {
  const items = await cluster.list(namespace, selectedName(query));
  const metadata = { resourceVersion: cluster.version };
  sendJson(response, 200, { apiVersion: 'v1', kind: 'PodList', metadata, items });
}

async function sendLog(cluster: Cluster, { namespace, name, query }: PodRequest, response: ServerResponse): Promise<void> {
  const pod = cluster.get(namespace, name);
  const instance = pod.instance(query.get('container') ?? undefined);
  const follow = query.get('follow') === 'true';
  const tail = query.get('tailLines');
  response.writeHead(200, { 'Content-Type': 'text/plain' });
  if (tail !== null && !follow) {
    const all = await Array.fromAsync(logContent(instance.logFile));
    return void response.end(lastLines(Buffer.concat(all), Number(tail)));
  }
  for await (const piece of logContent(instance.logFile, follow ? async () => await pod.isRunning(instance) : undefined)) {
    if (response.destroyed) return;
    if (!response.write(piece)) await room(response);
  }
  response.end();
}

function sendJson(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}
