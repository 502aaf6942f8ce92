// What becomes of the side that is left when the other has gone; the rest is tested with whole sessions.

import assert from 'node:assert/strict';
import { type Duplex, duplexPair, PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { joinConnection, type Traffic } from './join-connection.ts';

const LEFT_ALONE_MS = 60;

type Bed = {
  readonly client: Duplex;
  readonly pod: Duplex;
  readonly user: Duplex;
  readonly program: Duplex;
  readonly traffic: Traffic;
};

function bed(): Bed & { readonly joined: Promise<void> } {
  const [client, user] = duplexPair();
  const [pod, program] = duplexPair();
  for (const side of [user, program]) side.on('error', () => {});
  const traffic: Traffic = { toPod: 0, toClient: 0 };
  return { client, pod, user, program, traffic, joined: joinConnection(client, pod, traffic, LEFT_ALONE_MS) };
}

const took = async (work: Promise<void>): Promise<number> => {
  const start = performance.now();
  await work;
  return performance.now() - start;
};

test('a client that is gone after its input leaves the program some time, takes nothing from it, and not for ever', async () => {
  const { client, user, program, joined, traffic } = bed();
  user.end('all of it');
  program.resume();
  await sleep(20);
  assert.equal(client.readableEnded, true);
  client.destroy();
  const blocks = setInterval(() => program.write(Buffer.alloc(100_000)), 5);
  const ms = await took(joined);
  clearInterval(blocks);
  assert.ok(ms > LEFT_ALONE_MS / 2, `${ms} ms`);
  assert.deepEqual(traffic, { toPod: 9, toClient: 0 });
});

test('a program that has closed leaves its client the answer, then some time, and not for ever', async () => {
  const { pod, user, program, joined } = bed();
  program.end(Buffer.alloc(200_000));
  let over = false;
  void joined.then(() => {
    over = true;
  });
  // As a socket does that meets a reset while it writes.
  pod.once('end', () => pod.destroy());
  await sleep(LEFT_ALONE_MS * 2);
  assert.equal(over, false, 'the client has not read yet');
  let got = 0;
  user.on('data', (chunk: Buffer) => {
    got += chunk.length;
  });
  user.write('still sending');
  await joined;
  assert.equal(got, 200_000);
});

test('sides that are closed already, both or one', async () => {
  const [a, b] = [new PassThrough(), new PassThrough()];
  a.destroy();
  b.destroy();
  await sleep(5);
  await joinConnection(a, b, { toPod: 0, toClient: 0 });
  const { client, pod, joined } = bed();
  client.destroy(new Error('reset'));
  await joined;
  assert.equal(pod.destroyed, true);
});
