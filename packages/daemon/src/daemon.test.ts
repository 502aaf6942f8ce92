import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DaemonUnderTest } from './testing/daemon-under-test.ts';

test('the socket belongs to owner and group; a stale one is replaced, a live one and a file are refused', async () => {
  await using host = await DaemonUnderTest.start();
  assert.equal((await stat(host.socket)).mode & 0o777, 0o660);
  await using other = await DaemonUnderTest.host();
  const live = createServer().listen(other.socket);
  await assert.rejects(other.boot(), { code: 'SOCKET_IN_USE' });
  await new Promise((resolve) => live.close(resolve));
  await writeFile(other.socket, 'in the way');
  await assert.rejects(other.boot(), { code: 'SOCKET_IN_USE', message: /not a socket/ });
});

test('two daemons never share a root folder; the lock of a dead one is taken over', async () => {
  await using host = await DaemonUnderTest.start();
  await assert.rejects(host.boot(), { code: 'ROOT_LOCKED', message: new RegExp(`pid ${process.pid}`) });
  assert.equal((await host.cri.version()).runtimeName, 'berth');
  await host.stop();
  await writeFile(join(host.dir, 'root', 'berthd.lock'), `${process.pid} 1 some-other-boot\n`);
  await host.boot();
  assert.equal((await host.cri.version()).runtimeName, 'berth');
});

test('the host is released only when no pod is left', async () => {
  await using host = await DaemonUnderTest.start();
  const pod = await host.pod();
  await host.stop();
  assert.equal(host.hostReleased, 0);
  await host.boot();
  await host.cri.removePodSandbox({ podSandboxId: pod });
  await host.stop();
  assert.equal(host.hostReleased, 1);
});

test('a call that a stop cuts off is no bug in the log', async () => {
  await using host = await DaemonUnderTest.start();
  const container = await host.container(await host.pod());
  // The shim is there, and says for longer than anybody waits that init does not run yet.
  host.runtime.before = (operation, id) => {
    const fake = host.runtime.containers.get(id);
    if (operation === 'startContainer' && fake !== undefined) Object.defineProperty(fake, 'pid', { get: () => 0, set: () => {} });
  };
  const started = assert.rejects(host.cri.startContainer({ containerId: container }));
  await sleep(500);
  await host.stop();
  await started;
  await sleep(100);
  assert.equal(host.logged, '');
});
