// The clocks of a connection that is not read, and what the kernel says of a peer whose end waits unread, with real connections.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PeerEnd } from './peer-end.ts';
import { freshReads } from './client-reads.ts';
import { SocketChannel } from './socket-channel.ts';
import { UnreadPeer } from './unread-peer.ts';

/** Who asks twice within a second gets one answer. */
const NEXT_LOOK_MS = 1_100;

async function pair(t: TestContext): Promise<{ readonly here: Socket; readonly there: Socket }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const there = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [[here]] = (await Promise.all([once(server, 'connection'), once(there, 'connect')])) as [[Socket], unknown];
  for (const socket of [here, there]) socket.on('error', () => undefined);
  server.close();
  t.after(() => {
    here.destroy();
    there.destroy();
  });
  return { here, there };
}

test('signs go out until the peer has ended, then it has its time, unless it is read before', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const said: string[] = [];
  let ended = false;
  const unread = new UnreadPeer(
    { signMs: 5, lostInputMs: 30 },
    { look: async () => await Promise.resolve(ended), sign: () => said.push('sign'), gone: () => said.push('gone') },
  );
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 5) {
      t.mock.timers.tick(5);
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    }
  };
  unread.watch();
  unread.watch();
  await pass(10);
  assert.deepEqual(said, ['sign', 'sign']);
  ended = true;
  await pass(30);
  unread.rest();
  await pass(50);
  assert.deepEqual(said, ['sign', 'sign']);
  unread.watch();
  assert.equal(unread.watching, true);
  await pass(30);
  assert.deepEqual(said, ['sign', 'sign']);
  await pass(5);
  assert.deepEqual(said, ['sign', 'sign', 'gone']);
});

test('one that is read again while the kernel is asked is told nothing', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const said: string[] = [];
  const answer = Promise.withResolvers<boolean>();
  const unread = new UnreadPeer(
    { signMs: 5, lostInputMs: 30 },
    { look: async () => await answer.promise, sign: () => said.push('sign'), gone: () => said.push('gone') },
  );
  unread.watch();
  t.mock.timers.tick(5);
  unread.rest();
  answer.resolve(false);
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  t.mock.timers.tick(100);
  assert.deepEqual(said, []);
});

test('the end of a peer is seen though nothing is read, and nothing is written to it any more', async (t) => {
  const { here, there } = await pair(t);
  const channel = new SocketChannel(freshReads(here, Buffer.alloc(0)));
  assert.equal(await channel.peerEnded(), false);
  channel.write([Buffer.from('a')]);
  const [first] = (await once(there, 'data')) as [Buffer];
  assert.equal(String(first), 'a');
  there.end('last words');
  await once(there, 'finish');
  await sleep(NEXT_LOOK_MS);
  assert.equal(await channel.peerEnded(), true);
  const { bytesWritten } = here;
  channel.write([Buffer.from('b')]);
  assert.equal(here.bytesWritten, bytesWritten);
  const read: string[] = [];
  channel.start({
    data: (chunk) => read.push(String(chunk)),
    drain: () => undefined,
    ended: (reason) => read.push(reason),
    closed: () => undefined,
  });
  channel.resume();
  while (read.length < 2) await sleep(1);
  assert.deepEqual(read, ['last words', 'client went away']);
});

test('a peer that was there and has reset the connection has ended; one that the kernel never knew has not', async (t) => {
  const { here, there } = await pair(t);
  const end = new PeerEnd(here);
  const late = new PeerEnd(here);
  await sleep(NEXT_LOOK_MS);
  assert.equal(await end.look(), false);
  there.resetAndDestroy();
  await once(there, 'close');
  await sleep(NEXT_LOOK_MS);
  assert.deepEqual([await end.look(), end.ended], [true, true]);
  assert.deepEqual([await late.look(), late.ended], [false, false]);
});

test('a connection that one reading of the table has passed over is looked for in another', async (t) => {
  const { here } = await pair(t);
  const there = { unsent: 0, retransmits: 0, probes: 0, peerEnded: false };
  const answers = [there, undefined, there, undefined, { ...there, peerEnded: true }];
  const asked: string[] = [];
  const answer = (how: string) => async () => {
    asked.push(how);
    return await Promise.resolve(answers.shift());
  };
  const end = new PeerEnd(here, { recent: answer('recent'), fresh: answer('fresh') });
  assert.deepEqual([await end.look(), await end.look(), await end.look()], [false, false, true]);
  assert.deepEqual(asked, ['recent', 'recent', 'fresh', 'recent', 'fresh']);
});
