import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { noTurnFor } from '../testing/stops.ts';
import { Deadline } from './deadline.ts';

test('what has come while the process had no turn is read before it rings', async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer(accepted.resolve).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.after(() => client.destroy());
  const socket = await accepted.promise;
  const order: string[] = [];
  socket.on('data', () => order.push('data'));
  const rang = Promise.withResolvers<void>();
  const deadline = new Deadline(20, rang.resolve);
  client.write('in time');
  noTurnFor(100);
  await rang.promise.then(() => order.push('rings'));
  deadline.cancel();
  assert.deepEqual(order, ['data', 'rings']);
});

test('what is read just before it rings can still put it off, or cancel it', async () => {
  const order: string[] = [];
  const putOff = new Deadline(20, () => order.push('put off'));
  const cancelled = new Deadline(20, () => order.push('cancelled'));
  // Due in the same turn, before the reads: that is when both have rung inside, and nobody has been told.
  setTimeout(() => {
    order.push('a read');
    putOff.refresh();
    cancelled.cancel();
  }, 20);
  noTurnFor(50);
  await sleep(5);
  assert.deepEqual(order, ['a read']);
  await sleep(100);
  assert.deepEqual(order, ['a read', 'put off']);
});

test('it rings in time in a process in which nothing else happens', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  // What the start leaves behind would wake the loop.
  await sleep(500);
  let other = false;
  const later = setTimeout(() => (other = true), 5_000);
  await new Promise<void>((rings) => new Deadline(50, rings));
  assert.equal(other, false);
  clearTimeout(later);
});
