// The listener for metrics: where it listens, what it answers, and that it says why not.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseExposition, valueOf } from '../testing/parse-exposition.ts';
import { BerthError } from '../util/errors.ts';
import { silentLog } from '../util/log.ts';
import { gauge } from './metric.ts';
import { serveMetrics } from './metrics-server.ts';
import { ProcessMetrics } from './process-metrics.ts';

const ANY = { host: '127.0.0.1', port: 0 };

const refused = (kind: string, code: string, text: RegExp) => (error: unknown) =>
  error instanceof BerthError && error.kind === kind && error.code === code && text.test(error.message);

test('a scrape gives what the sources have at that moment, in one answer', async () => {
  let value = 1;
  await using server = await serveMetrics(ANY, [() => [gauge('a', 'a', value)], async () => [gauge('b', 'b', 7)]], silentLog);
  assert.match(server.url, /^http:\/\/127\.0\.0\.1:[1-9]\d*\/metrics$/);
  value = 2;
  const response = await fetch(server.url);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  const families = parseExposition(await response.text());
  assert.deepEqual([valueOf(families, 'a'), valueOf(families, 'b')], [2, 7]);
  const head = await fetch(server.url, { method: 'HEAD' });
  assert.deepEqual([head.status, await head.text()], [200, '']);
  assert.ok(Number(head.headers.get('content-length')) > 0);
});

test('other paths and methods are refused, a source that fails is no crash', async () => {
  const said: string[] = [];
  const log = { ...silentLog, error: (_: object, message: string) => said.push(message) };
  let fails = true;
  await using server = await serveMetrics(ANY, [() => (fails ? Promise.reject(new Error('no')) : [])], log);
  const elsewhere = server.url.replace('/metrics', '/');
  assert.equal((await fetch(elsewhere)).status, 404);
  const post = await fetch(server.url, { method: 'POST', body: 'x' });
  assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD']);
  assert.equal((await fetch(server.url)).status, 500);
  assert.deepEqual(said, ['metrics could not be collected']);
  fails = false;
  assert.equal((await fetch(`${server.url}?x=1`)).status, 200);
});

test('addresses that others can reach are refused, a busy port is named', async () => {
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.com', '']) {
    await assert.rejects(
      serveMetrics({ host, port: 0 }, [], silentLog),
      refused('invalid-argument', 'METRICS_ADDRESS_NOT_LOOPBACK', /loopback/),
      host,
    );
  }
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await assert.rejects(
    serveMetrics({ host: '127.0.0.1', port }, [], silentLog),
    refused('failed-precondition', 'METRICS_PORT_BUSY', new RegExp(`port ${port} on 127\\.0\\.0\\.1`)),
  );
  other.close();
});

test('closing does not wait for connections that stay open', async () => {
  const server = await serveMetrics(ANY, [() => []], silentLog);
  const idle = connect(Number(new URL(server.url).port), '127.0.0.1');
  idle.on('error', () => undefined);
  await once(idle, 'connect');
  await server[Symbol.asyncDispose]();
  await assert.rejects(fetch(server.url));
  idle.destroy();
});

test('a blocked event loop shows as lag, a free one does not, and a second scraper sees the same', async () => {
  using metrics = new ProcessMetrics();
  const lag = async (): Promise<(stat: string) => number> => {
    const family = (await metrics.collect()).find(({ name }) => name === 'berth_event_loop_lag_seconds');
    assert.ok(family?.type === 'gauge');
    return (stat) => family.samples.find(({ labels }) => labels?.['stat'] === stat)?.value ?? Number.NaN;
  };
  await sleep(200);
  await metrics.collect();
  await sleep(100);
  const until = performance.now() + 300;
  while (performance.now() < until);
  await sleep(1_000);
  const [first, second] = [await lag(), await lag()];
  assert.ok(first('max') > 0.2, 'a turn of 300 ms is seen');
  assert.ok(second('max') > 0.2, 'by whoever asks right afterwards as well');
  assert.ok(first('p50') < 0.2);
  const text = await metrics.collect();
  assert.ok(text.every((family) => family.type === 'histogram' || family.samples.every(({ value }) => value >= 0)));
});
