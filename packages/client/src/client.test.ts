// Calls of the daemon and image import, against a fake daemon over a real socket.
import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ListContainersResponseSchema } from '@berth/cri-api';
import { connect, messageToJson, RpcError } from './index.ts';
import { FakeDaemon } from './testing/fake-daemon.ts';

test('a call gives the typed answer, also as JSON', async () => {
  await using daemon = await FakeDaemon.start();
  await using client = connect(daemon);
  assert.equal((await client.runtime.version()).runtimeVersion, '9.9.9');
  const { podSandboxId } = await client.runtime.runPodSandbox({ config: { metadata: { name: 'p' } } });
  await client.runtime.createContainer({ podSandboxId, config: { metadata: { name: 'c' } } });
  const list = await client.runtime.listContainers();
  const json = messageToJson(ListContainersResponseSchema, list) as {
    containers: { id: string; createdAt: string; state: string }[];
  };
  assert.equal(json.containers[0]?.id, daemon.container.id);
  assert.equal(json.containers[0]?.state, 'CONTAINER_CREATED');
  assert.match(json.containers[0]?.createdAt ?? '', /^\d{19}$/);
});

test("a refused call throws the status, the stable code and the daemon's sentence", async () => {
  await using daemon = await FakeDaemon.start();
  await using client = connect(daemon);
  await assert.rejects(client.runtime.containerStatus({ containerId: 'x' }), (error) => {
    assert.ok(error instanceof RpcError);
    assert.deepEqual(
      [error.status, error.code, error.method, error.message],
      ['NOT_FOUND', 'CONTAINER_NOT_FOUND', '/runtime.v1.RuntimeService/ContainerStatus', 'no container has the id "x"'],
    );
    return true;
  });
});

test('without a daemon a call fails soon and says why', async () => {
  await using client = connect({ socket: '/nonexistent/berth.sock' });
  await assert.rejects(
    client.runtime.version(),
    (error) =>
      error instanceof RpcError &&
      error.status === 'UNAVAILABLE' &&
      error.code === undefined &&
      /ENOENT .*berth\.sock$/.test(error.message),
  );
});

test('a daemon that was restarted answers, also to a program that called while it was away', async () => {
  await using daemon = await FakeDaemon.start();
  await using old = connect(daemon);
  const away = `${daemon.socket}.away`;
  renameSync(daemon.socket, away);
  let attempts = 0;
  await using nobody = createServer((socket) => {
    attempts += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => nobody.listen(daemon.socket, resolve));
  // Six take a second and a half; by gRPC's own pauses 13 s at least.
  const until = Date.now() + 10_000;
  while (attempts < 6) {
    await assert.rejects(old.runtime.version(), (error) => error instanceof RpcError && error.status === 'UNAVAILABLE');
    assert.ok(Date.now() < until, `asked ${attempts} times only`);
    await sleep(20);
  }
  await new Promise((resolve) => nobody.close(resolve));
  renameSync(away, daemon.socket);
  await using fresh = connect(daemon);
  assert.equal((await fresh.runtime.version()).runtimeVersion, '9.9.9', 'a new one is not refused for what the old one has found');
  while ((await old.runtime.version().catch(() => undefined)) === undefined) await sleep(20);
});

test('a call can be aborted, before and under way', async () => {
  await using daemon = await FakeDaemon.start();
  await using client = connect(daemon);
  const reason = new Error('enough');
  await assert.rejects(client.runtime.version({}, { signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const call = client.runtime.version({}, { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(call, reason);
  assert.equal((await client.runtime.version()).runtimeName, 'fake');
});

test('closing ends calls under way at once, and refuses those that come later', async () => {
  await using daemon = await FakeDaemon.start();
  const socket = `${daemon.socket}.silent`;
  await using silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(socket, resolve));
  const client = connect({ socket });
  const isClosed = { name: 'RpcError', status: 'CANCELLED', code: undefined, message: 'the client is closed' };
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield Buffer.alloc(10);
  }
  const under = [client.runtime.execSync({ cmd: ['sleep', '5'] }), client.image.import(endless(), [])];
  client.close();
  for (const call of under) await assert.rejects(call, isClosed);
  await assert.rejects(client.runtime.version(), { ...isClosed, method: '/runtime.v1.RuntimeService/Version' });
  await assert.rejects(client.image.import(endless(), []), isClosed);
  client.close();
});

test('an import sends every byte in order, however the source cuts them', async () => {
  await using daemon = await FakeDaemon.start();
  await using client = connect(daemon);
  const sizes = [1, 3_000_000, 0, 262_144, 262_145];
  const total = sizes.reduce((sum, each) => sum + each, 0);
  async function* source(): AsyncGenerator<Uint8Array> {
    for (const size of sizes) yield Buffer.alloc(size, 7);
  }
  const image = await client.image.import(source(), ['a', 'b']);
  assert.deepEqual([image.id, image.names, image.size], [`sha256:${'c'.repeat(64)}`, ['a', 'b'], BigInt(total)]);
  assert.deepEqual(daemon.imported, [{ names: ['a', 'b'], bytes: total }]);
});

test('an import that the daemon refuses, whose source fails or that is aborted throws that', async () => {
  await using daemon = await FakeDaemon.start();
  await using client = connect(daemon);
  async function* one(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(10);
  }
  await assert.rejects(
    client.image.import(one(), ['bad']),
    (error) => error instanceof RpcError && error.code === 'ARCHIVE_INVALID',
  );
  const failure = new Error('the disk is gone');
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(10);
    throw failure;
  }
  await assert.rejects(client.image.import(failing(), []), failure);
  const controller = new AbortController();
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      yield Buffer.alloc(1000);
      controller.abort(failure);
    }
  }
  await assert.rejects(client.image.import(endless(), [], { signal: controller.signal }), failure);
  assert.equal(daemon.imported.length, 1);
});
