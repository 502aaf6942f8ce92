/** TLS, the end of the grace period and the idle time-out with the whole daemon and real containers. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { attach, RpcError } from '@berth/client';
import { readFileSync } from 'node:fs';
import { ContainerState } from '@berth/cri-api';
import { Certificates } from '../../packages/daemon/src/testing/certificates.ts';
import { AttachClient } from '../src/attach.ts';
import { collect, type Ran } from '../src/crictl.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { eventually, listProcesses } from '../src/processes.ts';
import { randomFile } from '../src/random.ts';

const MIB = 1024 * 1024;
const CLI = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url));

/** Runs `berth` to its end. */
async function berth(
  daemon: TestDaemon,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input = '',
): Promise<Ran> {
  const child = spawn(process.execPath, ['--conditions=source', CLI, '--socket', daemon.socket, ...args], {
    stdio: 'pipe',
    env: { ...process.env, ...env },
  });
  child.stdin.end(input);
  return await collect(child);
}

test('over TLS with client certificates: berth attach and the library, by option and by environment; nobody else', async () => {
  using certs = new Certificates();
  const clients = certs.authority('clients');
  const server = certs.issue('server');
  const own = certs.issue('own', clients);
  const settings = `[streaming]\ntls_cert = "${server.cert}"\ntls_key = "${server.key}"\ntls_client_ca = "${clients.cert}"`;
  await using daemon = await TestDaemon.start({ settings });
  assert.match(daemon.streaming, /^https:\/\/127\.0\.0\.1:\d+$/);
  const file = join(daemon.dir, 'mib');
  const expected = await randomFile(file, 16 * MIB);
  const mounts = [{ containerPath: '/mib', hostPath: file }];
  const container = await runContainer(daemon, await runPod(daemon), 'while read -r line; do eval "$line"; done', {
    stdin: true,
    mounts,
  });

  const options = ['--tls-ca', certs.ca.cert, '--tls-cert', own.cert, '--tls-key', own.key];
  const shown = await berth(daemon, ['attach', ...options, container.id], {}, 'echo over tls\n');
  assert.deepEqual(shown, { code: 0, stdout: 'over tls\n', stderr: '' });
  const env = { BERTH_TLS_CA: certs.ca.cert, BERTH_TLS_CERT: own.cert, BERTH_TLS_KEY: own.key };
  assert.equal((await berth(daemon, ['attach', container.id], env, 'echo again\n')).stdout, 'again\n');

  const refused: readonly [readonly string[], RegExp][] = [
    [[], /^berth: cannot connect: .*certificate.*--tls-ca/],
    [['--tls-ca', clients.cert, ...options.slice(2)], /^berth: cannot connect: .*certificate/],
    [options.slice(0, 2), /^berth: (?:cannot connect|the connection ended)/],
    [options.slice(0, 4), /^berth: --tls-cert and --tls-key need each other/],
    [['--tls-ca', '/nowhere.pem'], /^berth: --tls-ca: \/nowhere\.pem cannot be read: /],
  ];
  for (const [args, message] of refused) {
    const { code, stderr } = await berth(daemon, ['attach', ...args, container.id], {}, 'echo never\n');
    assert.equal(code, 125, stderr);
    assert.match(stderr, message);
  }

  const tls = { ca: certs.caPem, cert: readFileSync(own.cert), key: readFileSync(own.key) };
  const session = await attach(daemon.client, container.id, { stdin: true, tls });
  session.stdin?.write('cat /mib; exit 3\n');
  const { createHash } = await import('node:crypto');
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of session.stdout ?? []) {
    bytes += (chunk as Buffer).length;
    hash.update(chunk as Buffer);
    await sleep(1);
  }
  assert.equal(bytes, 16 * MIB);
  assert.equal(hash.digest('hex'), expected);
  const end = await session.ended;
  assert.equal(end.kind === 'status' && end.status.status, 'Success');
  await container.exited();
  await assert.rejects(attach(daemon.client, container.id, { tls }), RpcError);
  assert.ok(!daemon.log().includes('BEGIN'), 'no key in the log');
});

test('after its grace period the daemon ends sessions with a status that says that the container goes on; a second signal ends the grace', async () => {
  for (const [signals, graceMs, least, most] of [
    [1, 5_000, 4_900, 30_000],
    // Far beyond what anything here takes: it is the second signal that ends it.
    [2, 600_000, 0, 60_000],
  ] as const) {
    await using daemon = await TestDaemon.start({ settings: `[streaming]\ndrain_ms = ${graceMs}` });
    const container = await runContainer(daemon, await runPod(daemon), 'while read -r line; do echo "got $line"; done', {
      stdin: true,
    });
    using client = await AttachClient.open(await container.attachUrl());
    const began = performance.now();
    daemon.signal('SIGTERM');
    // Two signals that come to a process that sleeps are one.
    await eventually('the daemon drains', async () => await isStopping(container));
    await client.send('still here\n');
    await client.sees(/got still here\n/);
    if (signals === 2) daemon.signal('SIGTERM');
    const status = await client.ended();
    const took = performance.now() - began;
    assert.ok(took >= least && took < most, `${signals}: ${took} ms`);
    assert.equal(status?.status, 'Failure');
    assert.match(JSON.stringify(status), /"SessionEnded"/);
    assert.match(status?.message ?? '', /stopping: the container goes on/);
    assert.equal(client.closed?.code, 1000);
    await daemon.stopped();
    await daemon.start();
    using again = await AttachClient.open(await container.attachUrl());
    await again.send('back\n');
    await again.sees(/got back\n/);
  }
});

/** Whether Attach is refused because the daemon has been told to stop. */
async function isStopping(container: TestContainer): Promise<boolean> {
  const error: unknown = await container.attachUrl().catch((refused: unknown) => refused);
  return error instanceof RpcError && error.code === 'DAEMON_STOPPING';
}

test('an idle session ends with IdleTimeout, its container goes on', async () => {
  await using daemon = await TestDaemon.start({ settings: '[streaming]\nidle_timeout_ms = 4000' });
  const container = await runContainer(daemon, await runPod(daemon), 'while read -r line; do echo "got $line"; done', {
    stdin: true,
  });
  using client = await AttachClient.open(await container.attachUrl());
  // Longer than the limit in all.
  for (let i = 0; i < 5; i += 1) {
    await sleep(1000);
    await client.send(`${i}\n`);
    await client.sees(new RegExp(`got ${i}\n`));
  }
  const status = await client.ended();
  assert.match(JSON.stringify(status), /"IdleTimeout"/);
  assert.match(status?.message ?? '', /no data has moved for 4 s/);
  using again = await AttachClient.open(await container.attachUrl());
  await again.send('back\n');
  await again.sees(/got back\n/);
});

test('exec sessions: caps count them, silence and the end of the grace period end them and their programs, and say why', async () => {
  const settings = '[streaming]\nidle_timeout_ms = 5000\ndrain_ms = 300\nmax_sessions_per_container = 2';
  await using daemon = await TestDaemon.start({ settings });
  const container = await runContainer(daemon, await runPod(daemon), 'while sleep 1; do :; done');
  const execUrl = async (...cmd: string[]): Promise<string> =>
    (await daemon.client.runtime.exec({ containerId: container.id, cmd, stdin: true, stdout: true, stderr: true })).url;
  const programs = (): number => listProcesses().filter(({ command }) => command === 'sleep 98765').length;
  const script = ['sh', '-c', 'echo begun; exec sleep 98765'];

  using silent = await AttachClient.open(await execUrl(...script));
  using busy = await AttachClient.open(await execUrl('cat'));
  await silent.sees(/begun\n/);
  assert.equal(programs(), 1);
  await assert.rejects(execUrl('true'), (error) => error instanceof RpcError && error.code === 'TOO_MANY_SESSIONS');
  await assert.rejects(container.attachUrl(), (error) => error instanceof RpcError && error.code === 'TOO_MANY_SESSIONS');
  while (silent.closed === undefined) {
    await busy.send('x');
    await sleep(200);
  }
  assert.match(JSON.stringify(silent.status), /"IdleTimeout"/);
  await eventually('the program of the silent session is gone', () => programs() === 0);
  assert.equal(busy.closed, undefined);

  using last = await AttachClient.open(await execUrl(...script));
  await last.sees(/begun\n/);
  const stopped = daemon.stop();
  const statuses = await Promise.all([busy.ended(), last.ended()]);
  for (const status of statuses) {
    assert.match(JSON.stringify(status), /"SessionEnded"/);
    assert.match(status?.message ?? '', /stopping: the container goes on, the program of this session has been ended/);
  }
  await stopped;
  await eventually('no program is left', () => programs() === 0);
  await daemon.start();
  assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
});

test('a daemon that cannot serve as it is told says which setting is wrong', async () => {
  using certs = new Certificates();
  const server = certs.issue('server');
  for (const [settings, message] of [
    [`tls_cert = "${server.cert}"`, /"streaming\.tls_cert" is set, but not streaming\.tls_key/],
    [`tls_cert = "${server.cert}"\ntls_key = "${certs.ca.key}"`, /streaming\.tls_key: .*ca\.key/],
    ['advertise = "http://node.example"', /"streaming\.advertise": must be https/],
  ] as const) {
    await assert.rejects(TestDaemon.start({ settings: `[streaming]\n${settings}` }), message);
  }
});
