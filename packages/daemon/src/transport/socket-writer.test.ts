// A writer over a real connection whose other end reads nothing until it is told to.
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SocketWriter } from './socket-writer.ts';

const KIB = 1024;
const PIECE_BYTES = 4 * KIB * KIB;

/** A writer, how often it has written to its socket, and what the peer reads once it begins. */
async function fixture() {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const accepted = once(server, 'connection');
  const socket = connect(address.port, '127.0.0.1');
  const [[peer]] = (await Promise.all([accepted, once(socket, 'connect')])) as unknown as [[Socket], unknown];
  server.close();
  const counted = { writes: 0 };
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
  Object.assign(socket, {
    write: (...args: unknown[]): boolean => {
      counted.writes += 1;
      return write(...args);
    },
  });
  return { socket, writer: new SocketWriter(socket), counted, read: () => buffer(peer) };
}

/** Fills the kernel's buffers; gives what was written. */
function stall(writer: SocketWriter): Buffer {
  const pieces: Buffer[] = [];
  do {
    pieces.push(Buffer.alloc(PIECE_BYTES, `piece ${pieces.length}`));
    writer.write(pieces.slice(-1));
  } while (writer.queued === 0);
  return Buffer.concat(pieces);
}

test('a hundred thousand single bytes behind a stalled connection wait in few writes, and come in their order', async () => {
  const { socket, writer, counted, read } = await fixture();
  const sent: Uint8Array[] = [stall(writer)];
  const before = writer.queued;
  counted.writes = 0;
  for (let i = 0; i < 100_000; i += 1) {
    const piece = Buffer.of(i % 256);
    writer.write([piece]);
    sent.push(piece);
  }
  assert.equal(writer.queued - before, 100_000);
  assert.ok(counted.writes < 1_000, `${counted.writes} writes`);
  writer.flush();
  socket.end();
  assert.deepEqual(await read(), Buffer.concat(sent));
});

test('sizes of all kinds keep their order, parts of one write together', async () => {
  const { socket, writer, read } = await fixture();
  const sent: Uint8Array[] = [stall(writer)];
  for (let i = 0; i < 3_000; i += 1) {
    const parts = [Buffer.alloc(i % 11, i), Buffer.alloc((i * 37) % 9_000, i + 1), Buffer.alloc(i % 3, i + 2)];
    writer.write(parts);
    sent.push(...parts);
  }
  writer.flush();
  socket.end();
  assert.deepEqual(await read(), Buffer.concat(sent));
});

test('what has been gathered leaves behind what it waited for, without another word', async () => {
  const { socket, writer, read } = await fixture();
  const filling = stall(writer);
  for (const word of ['one ', 'two ', 'three']) writer.write([Buffer.from(word)]);
  const reading = read();
  while (writer.queued > 0) await sleep(5);
  socket.end();
  assert.deepEqual(await reading, Buffer.concat([filling, Buffer.from('one two three')]));
});

test('a short write leaves at once where nothing waits, in one piece', async () => {
  const { socket, writer, counted, read } = await fixture();
  const reading = read();
  writer.write([Buffer.from('head '), Buffer.from('body')]);
  assert.equal(writer.queued, 0);
  assert.equal(counted.writes, 1);
  socket.end();
  assert.equal((await reading).toString(), 'head body');
});

test('nothing is sent behind the end', async () => {
  const { socket, writer, read } = await fixture();
  writer.write([Buffer.from('last')]);
  socket.end();
  writer.write([Buffer.from('late')]);
  writer.flush();
  assert.equal((await read()).toString(), 'last');
});
