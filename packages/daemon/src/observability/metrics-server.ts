/** Serves `/metrics` on a loopback address of its own: a listener apart from sessions, so that neither can be reached by the other's door. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { MetricsConfig } from '../config/config.ts';
import { BerthError } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { listenOn } from '../util/listen.ts';
import { isLoopback } from '../util/loopback.ts';
import { CONTENT_TYPE, exposition } from './exposition.ts';
import type { MetricSource } from './metric.ts';

/** One scraper or a few; nobody else has business here. */
const MAX_CONNECTIONS = 16;
/** A scraper's request is a few hundred bytes and comes at once. */
const REQUEST_MS = 5_000;
const MAX_HEADER_BYTES = 8 * 1024;
/** Longer than the pause between two scrapes is by default, so that one connection serves them all. */
const KEEP_ALIVE_MS = 75_000;
const PATH = '/metrics';

export type MetricsServer = AsyncDisposable & {
  /** `http://127.0.0.1:10351/metrics` with the actual port. */
  readonly url: string;
};

/**
 * Listens and answers with what the sources give at that moment.
 * @throws BerthError `METRICS_ADDRESS_NOT_LOOPBACK`, `METRICS_PORT_BUSY` or `METRICS_LISTEN_FAILED`
 */
export async function serveMetrics(config: MetricsConfig, sources: readonly MetricSource[], log: Log): Promise<MetricsServer> {
  const http = createServer(
    {
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => void answer(request, response, sources, log),
  );
  http.maxConnections = MAX_CONNECTIONS;
  const { address, port } = await listen(http, config);
  return {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${port}${PATH}`,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      http.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  sources: readonly MetricSource[],
  log: Log,
): Promise<void> {
  const [path] = (request.url ?? '').split('?', 1);
  if (path !== PATH) return refuse(response, 404, 'metrics are at /metrics');
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(response, 405, 'only GET', { Allow: 'GET, HEAD' });
  try {
    const families = await Promise.all(sources.map(async (source) => await source()));
    const text = exposition(families.flat());
    response.writeHead(200, { 'Content-Type': CONTENT_TYPE, 'Content-Length': Buffer.byteLength(text) });
    response.end(request.method === 'HEAD' ? undefined : text);
  } catch (error) {
    log.error({ err: error }, 'metrics could not be collected');
    refuse(response, 500, 'metrics could not be collected; the log says why');
  }
}

function refuse(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, 'Content-Type': 'text/plain; charset=utf-8' }).end(`${message}\n`);
}

async function listen(http: Server, { host, port }: MetricsConfig): Promise<AddressInfo> {
  if (!isLoopback(host)) {
    throw new BerthError(
      'invalid-argument',
      'METRICS_ADDRESS_NOT_LOOPBACK',
      `metrics are served on a loopback address only, not on ${host}: let a proxy with TLS and authentication stand in front`,
    );
  }
  return listenOn(http, host, port, {
    busy: (cause) =>
      new BerthError(
        'failed-precondition',
        'METRICS_PORT_BUSY',
        `port ${port} on ${host} is in use by another program: end that, or choose another port for metrics (0 for any)`,
        { cause },
      ),
    failed: (why, cause) =>
      new BerthError('unavailable', 'METRICS_LISTEN_FAILED', `cannot listen on ${host} port ${port} for metrics: ${why}`, {
        cause,
      }),
  });
}
