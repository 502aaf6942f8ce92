// What becomes of the side that is left when the other has gone; the rest is tested with whole sessions.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
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

/** As `bed`, with a real connection to the program: what it has written is in the kernel of the daemon's end before anybody reads. */
async function realBed(): Promise<{ client: Duplex; pod: Socket; user: Duplex; program: Socket; joined: Promise<void> }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const came = once(server, 'connection') as Promise<[Socket]>;
  const pod = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [program] = await came;
  server.close();
  const [client, user] = duplexPair();
  for (const side of [user, program]) side.on('error', () => {});
  return { client, pod, user, program, joined: joinConnection(client, pod, { toPod: 0, toClient: 0 }, LEFT_ALONE_MS) };
}

/** More than one read, which goes on at once; the rest is less than what the kernel of the daemon's end keeps while nobody reads. */
const ANSWER = Buffer.alloc(100_000, 'an answer ');

test('a program that has answered and closed: its client gets the whole answer, also when a write meets the reset first', async () => {
  const { user, program, joined } = await realBed();
  user.write('question');
  await once(program, 'readable');
  program.end(ANSWER);
  await once(program, 'finish');
  await sleep(50);
  program.destroy();
  // The client still sends, and reads nothing yet.
  for (let i = 0; i < 20; i++) {
    user.write(Buffer.alloc(5_000));
    await sleep(5);
  }
  const got: Buffer[] = [];
  for await (const chunk of user) got.push(chunk as Buffer);
  assert.ok(Buffer.concat(got).equals(ANSWER), `${Buffer.concat(got).length} bytes`);
  await joined;
});

test('a program that resets after part of an answer: the part does not look whole', async () => {
  const { client, user, program, joined } = await realBed();
  user.write('question');
  await once(program, 'readable');
  program.write(ANSWER);
  await sleep(20);
  program.resetAndDestroy();
  for (let i = 0; i < 20; i++) {
    user.write(Buffer.alloc(5_000));
    await sleep(5);
  }
  user.resume();
  await joined;
  assert.equal(client.writableEnded, false);
  assert.equal(client.destroyed, true);
});
