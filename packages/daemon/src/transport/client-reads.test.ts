// Connections taken over from Node's HTTP server: every byte, in order, in memory that is used again, and nothing left of them.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { type ClientReads, sharedReads } from './client-reads.ts';

const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n';
/** More than the kernel takes for a reader that does not read. */
const MUCH = 32 * 1024 * 1024;

/** A connection that has been upgraded: its first socket, what it was taken over as, and the client's end of it. */
type Pair = { readonly first: Socket; readonly reads: ClientReads; readonly client: Socket };

async function listening(t: TestContext): Promise<Server> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return server;
}

async function pair(t: TestContext, server: Server, behind = ''): Promise<Pair> {
  const upgraded = once(server, 'upgrade') as Promise<[unknown, Socket, Buffer]>;
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => undefined);
  t.after(() => client.destroy());
  client.write(REQUEST + behind);
  const [, first, head] = await upgraded;
  const reads = sharedReads(first, head);
  assert.notEqual(reads.socket, first);
  reads.socket.on('error', () => undefined);
  return { first, reads, client };
}

/** Numbers, so that what is missing, doubled or of another connection shows. */
const numbers = (from: number, bytes: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, i) => from + i).buffer);

/** All that comes, and the memory that it came in. */
function collect(reads: ClientReads): { readonly all: Promise<Buffer>; readonly memory: ReadonlySet<unknown> } {
  const pieces: Buffer[] = [];
  const memory = new Set<unknown>();
  reads.start((chunk) => {
    memory.add(chunk.buffer);
    pieces.push(Buffer.from(chunk));
  });
  return { all: once(reads.socket, 'end').then(() => Buffer.concat(pieces)), memory };
}

async function noneLeft(server: Server): Promise<void> {
  for (let left = 1; left > 0; await sleep(1)) {
    left = await new Promise<number>((resolve, reject) =>
      server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );
  }
}

test('two connections at once are read into the same memory, and what comes is what was sent', async (t) => {
  const server = await listening(t);
  const pairs = [await pair(t, server), await pair(t, server)] as const;
  const collected = pairs.map(({ reads }) => collect(reads));
  const sent = [numbers(0, MUCH), numbers(MUCH, MUCH)];
  for (const [i, { client }] of pairs.entries()) client.end(sent[i] as Buffer);
  const all = await Promise.all(collected.map(async (each) => await each.all));
  assert.ok(all.every((bytes, i) => bytes.equals(sent[i] as Buffer)));
  assert.equal(new Set(collected.flatMap(({ memory }) => [...memory])).size, 1);
  for (const { reads } of pairs) reads.socket.end();
  await noneLeft(server);
});

test('what came behind the request comes first, and not before reading begins', async (t) => {
  const { reads, client } = await pair(t, await listening(t), 'first ');
  client.end('second');
  await sleep(20);
  const { all } = collect(reads);
  assert.equal(String(await all), 'first second');
  // The client's end is not ours.
  client.resume();
  reads.socket.end('answer');
  await once(client, 'end');
  assert.equal(client.bytesRead, 6);
});

test('nothing is read while the connection is paused, and nothing is lost by it', async (t) => {
  const { reads, client } = await pair(t, await listening(t));
  const { all } = collect(reads);
  const bytes = numbers(0, MUCH);
  client.end(bytes);
  for (let i = 0; i < 4; i++) {
    reads.socket.pause();
    const { bytesRead } = reads.socket;
    for (let turn = 0; turn < 20; turn++) await immediate();
    assert.equal(reads.socket.bytesRead, bytesRead);
    reads.socket.resume();
    await immediate();
  }
  assert.ok(reads.socket.bytesRead < MUCH, 'it was paused in the middle');
  assert.ok((await all).equals(bytes));
  reads.socket.destroy();
});

test('the loss of the client is told by the socket that was taken over, and the server counts it no more', async (t) => {
  const server = await listening(t);
  const { first, reads, client } = await pair(t, server);
  const failed = once(reads.socket, 'error') as Promise<[NodeJS.ErrnoException]>;
  reads.start(() => undefined);
  client.resetAndDestroy();
  assert.equal((await failed)[0].code, 'ECONNRESET');
  await noneLeft(server);
  assert.ok(first.destroyed && reads.socket.destroyed);
});

test('a connection whose earlier requests have not been answered stays with the HTTP server', async (t) => {
  const server = await listening(t);
  const answers: ServerResponse[] = [];
  server.on('request', (_, response: ServerResponse) => answers.push(response));
  const upgraded = once(server, 'upgrade') as Promise<[unknown, Socket, Buffer]>;
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => client.destroy());
  client.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n' + REQUEST);
  const [, first, head] = await upgraded;
  const reads = sharedReads(first, head);
  assert.equal(reads.socket, first);
  const { all } = collect(reads);
  for (const answer of answers) answer.end('late');
  client.end('input');
  assert.equal(String(await all), 'input');
  assert.equal(answers.length, 2);
  first.destroy();
  await noneLeft(server);
});

test('a connection that an answer to an earlier request has ended stays with the HTTP server', async (t) => {
  const server = await listening(t);
  const upgraded = once(server, 'upgrade') as Promise<[unknown, Socket, Buffer]>;
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => client.destroy());
  client.write(REQUEST);
  const [, socket, head] = await upgraded;
  t.after(() => socket.destroy());
  socket.end();
  const reads = sharedReads(socket, head);
  t.after(() => reads.socket.destroy());
  assert.equal(reads.socket, socket);
  client.destroy();
  socket.destroy();
  await noneLeft(server);
});

test('a fault of the first socket ends the connection, and nothing else', async (t) => {
  const server = await listening(t);
  const { first, reads, client } = await pair(t, server);
  client.resume();
  reads.start(() => undefined);
  first.write('from whoever thinks that it is still there');
  await once(client, 'close');
  assert.ok(reads.socket.destroyed);
  await noneLeft(server);
});

test('whoever ends the first socket ends the connection', async (t) => {
  const server = await listening(t);
  const { first, reads, client } = await pair(t, server);
  client.resume();
  reads.start(() => undefined);
  first.destroy();
  await once(client, 'close');
  assert.ok(reads.socket.destroyed);
  await noneLeft(server);
});
