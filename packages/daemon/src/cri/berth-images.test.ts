import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { DaemonUnderTest, refused } from '../testing/daemon-under-test.ts';

const start = (names: string[]) => ({ part: { case: 'start' as const, value: { names } } });
const chunk = (value: Uint8Array) => ({ part: { case: 'chunk' as const, value } });

test('an import arrives byte for byte, larger than one message may be', async () => {
  await using host = await DaemonUnderTest.start();
  const pieces = Array.from({ length: 20 }, () => randomBytes(1024 * 1024));
  const reply = await host.importImage([start(['docker.io/library/mine:latest']), ...pieces.map(chunk)]);
  assert.deepEqual(
    [reply.id, reply.names, reply.size],
    [`sha256:${'c'.repeat(64)}`, ['docker.io/library/mine:latest'], 20n * 1024n * 1024n],
  );
  assert.ok(host.imageStore.received.equals(Buffer.concat(pieces)));
  assert.equal((await host.images.imageStatus({ image: { image: 'mine' } })).image?.id, reply.id);
});

test('an import that does not begin with its start is refused, also while the client goes on sending', async () => {
  await using host = await DaemonUnderTest.start();
  const pieces = Array.from({ length: 20 }, () => chunk(new Uint8Array(1024 * 1024)));
  await assert.rejects(host.importImage(pieces), refused('INVALID_ARGUMENT', 'start'));
  await assert.rejects(host.importImage([]), refused('INVALID_ARGUMENT', 'start'));
  assert.equal((await host.cri.version()).runtimeName, 'berth');
});

test('an import that its client cancels is aborted', async () => {
  await using host = await DaemonUnderTest.start();
  const call = host.importImage([start([]), chunk(new Uint8Array(10))], host.imageStore.begun.promise);
  await assert.rejects(call, refused('CANCELLED'));
  await host.imageStore.aborted.promise;
  assert.equal((await host.images.listImages({})).images.length, 1);
});
