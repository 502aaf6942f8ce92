// What a whole daemon shows to Prometheus, scraped over HTTP while it is driven over gRPC.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { DaemonUnderTest, refused } from './testing/daemon-under-test.ts';
import { type ParsedFamily, parseExposition, valueOf } from './testing/parse-exposition.ts';
import { BerthError } from './util/errors.ts';

async function scrape(host: DaemonUnderTest): Promise<Map<string, ParsedFamily>> {
  const response = await fetch(host.daemon.metricsUrl ?? '');
  assert.equal(response.status, 200);
  return parseExposition(await response.text());
}

test('pods and containers by state, shims, calls by method and code, the process', async () => {
  await using host = await DaemonUnderTest.host();
  host.flags = ['--metrics-address', '127.0.0.1:0'];
  await host.boot();
  const { pod } = await host.running('a');
  const second = await host.container(pod, 'created-only');
  const third = await host.container(pod, 'third');
  await host.cri.startContainer({ containerId: third });
  await host.runtime.exit(third, 3);
  await host.pod('b');
  await assert.rejects(host.cri.containerStatus({ containerId: 'nobody' }), refused('NOT_FOUND'));
  await host.cri.containerStatus({ containerId: second, verbose: false });
  await host.cri.version({}, { api: 'v1alpha2' });

  const families = await scrape(host);
  assert.equal(valueOf(families, 'berth_pods', { state: 'ready' }), 2);
  assert.deepEqual(
    ['created', 'running', 'exited', 'unknown'].map((state) => valueOf(families, 'berth_containers', { state })),
    [1, 1, 1, 0],
  );
  assert.equal(valueOf(families, 'berth_container_log_lost_bytes'), 0);
  const status = { service: 'runtime.v1.RuntimeService', method: 'ContainerStatus' };
  assert.equal(valueOf(families, 'berth_rpcs_total', { ...status, code: 'NOT_FOUND' }), 1);
  assert.equal(valueOf(families, 'berth_rpcs_total', { ...status, code: 'OK' }), 1);
  assert.equal(valueOf(families, 'berth_rpc_duration_seconds_count', status), 2);
  assert.equal(
    valueOf(families, 'berth_rpcs_total', { service: 'runtime.v1alpha2.RuntimeService', method: 'Version', code: 'OK' }),
    1,
  );
  assert.equal(valueOf(families, 'berth_rpcs_running'), 0);
  assert.ok(valueOf(families, 'process_resident_memory_bytes') > 10_000_000);
  assert.ok(valueOf(families, 'process_open_fds') > 5);
  assert.ok(valueOf(families, 'berth_event_loop_active_seconds_total') > 0);
  const startedAt = valueOf(families, 'process_start_time_seconds');
  assert.ok(Math.abs(startedAt - Date.now() / 1000) < 600);
});

test('log losses that shims tell of are summed', async () => {
  await using host = await DaemonUnderTest.host();
  host.flags = ['--metrics-address', '127.0.0.1:0'];
  await host.boot();
  for (const [name, lost] of [
    ['a', 5],
    ['b', 7],
  ] as const) {
    const { container } = await host.running(name);
    const shim = host.runtime.containers.get(container)?.shim;
    assert.ok(shim);
    shim.logBytesLost = lost;
  }
  const families = await scrape(host);
  assert.equal(valueOf(families, 'berth_container_log_lost_bytes'), 12);
  assert.equal(valueOf(families, 'berth_shims'), 2);
});

test('metrics are off unless asked for; a busy port keeps the daemon from starting and is named', async () => {
  await using host = await DaemonUnderTest.start();
  assert.equal(host.daemon.metricsUrl, undefined);
  await host.stop();
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as AddressInfo;
  host.flags = ['--metrics-address', `127.0.0.1:${port}`];
  await assert.rejects(
    host.boot(),
    (error) => error instanceof BerthError && error.code === 'METRICS_PORT_BUSY' && error.message.includes(String(port)),
  );
  other.close();
  // Nothing of the failed start holds the root folder.
  host.flags = [];
  await host.boot();
});
