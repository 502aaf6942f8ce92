/** attach, exec and portforward of the API: the CRI call for a URL, kubelet's mapping of errors, and the way to the URL. */
import type { IncomingMessage } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { type BerthClient, RpcError } from '@berth/client';
import { ApiError, type Cluster } from './cluster.ts';
import { passRaw } from './raw-proxy.ts';
import { type PodRequest, podRequest } from './requests.ts';
import { UpgradeRefused } from './spdy-connection.ts';
import { translate } from './translator.ts';
import { tunnel } from './tunnel.ts';

/** How a WebSocket client's connection reaches the daemon. */
export type Way = 'raw' | 'translated';

export type Upgrade = { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer };

export type StreamContext = {
  readonly cri: BerthClient;
  readonly cluster: Cluster;
  readonly fault: (text: string) => void;
  readonly passed: (text: string) => void;
};

/** Subprotocols of clients since 1.30 that proxies turn into SPDY. */
const TRANSLATED = 'v5.channel.k8s.io';
const TUNNELLED = 'SPDY/3.1+portforward.k8s.io';

/** Serves one upgrade from the request to the end of the connection. */
export async function openStream(context: StreamContext, way: Way, url: URL, upgrade: Upgrade): Promise<void> {
  const { request, socket } = upgrade;
  try {
    const wanted = podRequest(url);
    if (wanted === undefined) throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
    const target = new URL(await streamingUrl(context, wanted));
    const offered = request.headers['sec-websocket-protocol']?.split(/,\s*/) ?? [];
    const asked = `${wanted.subresource} ${request.headers.upgrade}`;
    const isTunnel = wanted.subresource === 'portforward';
    if (way === 'translated' && offered.includes(isTunnel ? TUNNELLED : TRANSLATED)) {
      context.passed(`${asked} translated`);
      return isTunnel ? await tunnel(upgrade, target) : await translate(upgrade, target, wanted.query, context.fault);
    }
    context.passed(`${asked} raw`);
    return await passRaw(upgrade, target);
  } catch (error) {
    const { status, message } = httpStatus(error);
    socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
    );
  }
}

/** Kubelet's mapping: NotFound 404, ResourceExhausted 429, everything else that the runtime says 500. */
function httpStatus(error: unknown): { status: number; message: string } {
  if (error instanceof ApiError) return { status: error.code, message: error.message };
  if (error instanceof UpgradeRefused) return { status: error.status, message: error.message };
  if (!(error instanceof RpcError)) return { status: 500, message: String(error) };
  const known: Readonly<Record<string, number>> = { NOT_FOUND: 404, RESOURCE_EXHAUSTED: 429 };
  // The text of Go's gRPC errors, as kubelet passes it on: FAILED_PRECONDITION is FailedPrecondition there.
  const code = error.status.toLowerCase().replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return { status: known[error.status] ?? 500, message: `rpc error: code = ${code} desc = ${error.message}` };
}

async function streamingUrl({ cri, cluster }: StreamContext, wanted: PodRequest): Promise<string> {
  const pod = cluster.get(wanted.namespace, wanted.name);
  const { query, subresource } = wanted;
  if (subresource === 'portforward') {
    const port = query.getAll('ports').map(Number);
    return (await cri.runtime.portForward({ podSandboxId: pod.sandboxId, port })).url;
  }
  const { id: containerId, spec } = pod.instance(query.get('container') ?? undefined);
  const asked = (name: string): boolean => query.get(name) === 'true';
  const streams = { stdin: asked('stdin'), stdout: asked('stdout'), stderr: asked('stderr') };
  // Kubelet takes the terminal of an attach from the pod, everything else from the query.
  if (subresource === 'attach') return (await cri.runtime.attach({ containerId, ...streams, tty: spec.tty ?? false })).url;
  if (subresource !== 'exec') throw new ApiError(404, 'NotFound', `${subresource} is no stream`);
  return (await cri.runtime.exec({ containerId, cmd: query.getAll('command'), ...streams, tty: asked('tty') })).url;
}
