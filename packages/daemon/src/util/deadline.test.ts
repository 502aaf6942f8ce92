import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Deadline } from './deadline.ts';

/** As a stop does: nothing has a turn, and the clock goes on. */
function noTurnFor(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

test('what has come while the process had no turn is read before it rings', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = await once(server, 'connection');
  t.after(() => [client, socket].forEach((each) => each.destroy()));
  const order: string[] = [];
  socket.on('data', () => order.push('data'));
  const rang = Promise.withResolvers<void>();
  new Deadline(20, () => {
    order.push('rings');
    rang.resolve();
  });
  client.write('in time');
  noTurnFor(100);
  await rang.promise;
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
