// The clocks of a connection that is not read, and what the kernel says of a peer whose end waits unread, with real connections.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PeerEnd, type PeerState } from './peer-end.ts';
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
  let state: PeerState = 'there';
  const unread = new UnreadPeer(
    { signMs: 5, lostInputMs: 30 },
    { look: async () => await Promise.resolve(state), sign: () => said.push('sign'), gone: () => said.push('gone') },
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
  state = 'missing';
  await pass(10);
  assert.deepEqual(said, ['sign', 'sign'], 'nothing is written to one that may have gone');
  state = 'ended';
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
  const answer = Promise.withResolvers<PeerState>();
  const unread = new UnreadPeer(
    { signMs: 5, lostInputMs: 30 },
    { look: async () => await answer.promise, sign: () => said.push('sign'), gone: () => said.push('gone') },
  );
  unread.watch();
  t.mock.timers.tick(5);
  unread.rest();
  answer.resolve('there');
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  t.mock.timers.tick(100);
  assert.deepEqual(said, []);
});

test('the end of a peer is seen though nothing is read, and nothing is written to it any more', async (t) => {
  const { here, there } = await pair(t);
  const channel = new SocketChannel(freshReads(here, Buffer.alloc(0)));
  assert.equal(await channel.peerState(), 'there');
  channel.write([Buffer.from('a')]);
  const [first] = (await once(there, 'data')) as [Buffer];
  assert.equal(String(first), 'a');
  there.end('last words');
  await once(there, 'finish');
  await sleep(NEXT_LOOK_MS);
  assert.equal(await channel.peerState(), 'ended');
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
  assert.equal(await end.look(), 'there');
  there.resetAndDestroy();
  await once(there, 'close');
  await sleep(NEXT_LOOK_MS);
  assert.deepEqual([await end.look(), end.ended], ['missing', false], 'one look may have missed it');
  await sleep(NEXT_LOOK_MS);
  assert.deepEqual([await end.look(), end.ended], ['ended', true]);
  for (let i = 0; i < 3; i++) assert.deepEqual([await late.look(), late.ended], ['there', false]);
});

test('a connection that is passed over now and then is missing, and has not ended; a reading that fails says nothing', async (t) => {
  const { here } = await pair(t);
  const there = { unsent: 0, retransmits: 0, probes: 0, peerEnded: false };
  const answers = [there, undefined, there, undefined, 'fails', there, undefined, undefined];
  const end = new PeerEnd(here, async () => {
    const answer = answers.shift();
    if (answer === 'fails') throw new Error('no descriptor is left');
    return await Promise.resolve(answer as typeof there | undefined);
  });
  const states: PeerState[] = [];
  for (let i = 0; i < 8; i++) states.push(await end.look());
  assert.deepEqual(states, ['there', 'missing', 'there', 'missing', 'missing', 'there', 'missing', 'ended']);
});

test('a kernel that answers late is not asked again meanwhile', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const answers: PromiseWithResolvers<PeerState>[] = [];
  let signs = 0;
  const look = async (): Promise<PeerState> => {
    const answer = Promise.withResolvers<PeerState>();
    answers.push(answer);
    return await answer.promise;
  };
  const unread = new UnreadPeer({ signMs: 5, lostInputMs: 30 }, { look, sign: () => (signs += 1), gone: () => undefined });
  unread.watch();
  t.mock.timers.tick(50);
  assert.equal(answers.length, 1);
  answers[0]?.resolve('there');
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  assert.equal(signs, 1);
  t.mock.timers.tick(5);
  assert.equal(answers.length, 2);
  unread.rest();
});
