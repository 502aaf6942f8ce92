// Who ends a connection first, and what becomes of a peer that does not.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { lingerForPeer } from './linger.ts';
import { freshReads } from './client-reads.ts';
import { SocketChannel } from './socket-channel.ts';

const LONG_MS = 60_000;
/** Long enough for several looks. */
const SOME_LOOKS_MS = 300;
/** Longer than this process may be stopped for: who would talk meanwhile is silent then. */
const STOPPED_MS = 3_000;
const TIMES = { noProgressMs: LONG_MS, pollMs: LONG_MS, peerPollMs: 20, silentMs: 400, peerMs: LONG_MS };
const SLOW = { hasRead: () => false, maySayNothing: false };
const DONE = { hasRead: () => true, maySayNothing: false };
const MUTE = { hasRead: () => false, maySayNothing: true };

/** Our end, read as transports do, and the peer's, which ends nothing by itself. */
async function pair(): Promise<{ readonly ours: Socket; readonly peer: Socket; readonly ended: () => boolean }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const peer = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [[ours]] = (await Promise.all([once(server, 'connection'), once(peer, 'connect')])) as [[Socket], unknown];
  server.close();
  ours.resume();
  let ended = false;
  peer.on('end', () => {
    ended = true;
  });
  for (const socket of [ours, peer]) socket.on('error', () => undefined);
  return { ours, peer, ended: () => ended };
}

test('the first FIN is the peer’s, however much it says before; ours answers it', async () => {
  const { ours, peer, ended } = await pair();
  peer.resume();
  ours.write('all');
  lingerForPeer(ours, SLOW, TIMES);
  peer.write('a pong');
  while (ours.bytesRead < 6) await sleep(5);
  await sleep(SOME_LOOKS_MS);
  assert.equal(ended(), false);
  peer.end();
  await Promise.all([once(ours, 'close'), once(peer, 'end')]);
});

test('a peer that has ended already is answered at once', async () => {
  const { ours, peer } = await pair();
  peer.resume();
  peer.end();
  await once(ours, 'end');
  lingerForPeer(ours, SLOW, TIMES);
  await once(peer, 'close');
});

test('one that has read all has the time of a look to end by itself', async () => {
  const { ours, peer, ended } = await pair();
  peer.resume();
  let looks = 0;
  const hasRead = (): boolean => {
    looks += 1;
    return looks === 1;
  };
  lingerForPeer(ours, { hasRead, maySayNothing: false }, TIMES);
  while (looks < 10) await sleep(5);
  assert.equal(ended(), false);
  peer.end();
  await once(ours, 'close');
});

test('one that has read all and does not end gets our FIN when it has taken everything, and not before', async () => {
  const { ours, peer, ended } = await pair();
  const bytes = 16 * 1024 * 1024;
  ours.write(Buffer.alloc(bytes));
  lingerForPeer(ours, DONE, TIMES);
  await sleep(SOME_LOOKS_MS);
  assert.equal(ours.writableEnded, false);
  peer.resume();
  while (!ended()) await sleep(5);
  assert.equal(peer.bytesRead, bytes);
  peer.end();
  await once(ours, 'close');
});

test('one that neither ends nor says anything gets our FIN, and is then given up; one that says something now and then is not', async () => {
  const times = { ...TIMES, noProgressMs: 1_000 };
  const silent = await pair();
  silent.peer.resume();
  const began = performance.now();
  lingerForPeer(silent.ours, SLOW, times);
  await once(silent.peer, 'end');
  assert.ok(performance.now() - began >= times.noProgressMs);
  await once(silent.ours, 'close');
  assert.ok(performance.now() - began >= 2 * times.noProgressMs);
  silent.peer.destroy();

  const alive = await pair();
  alive.peer.resume();
  lingerForPeer(alive.ours, SLOW, { ...TIMES, noProgressMs: STOPPED_MS });
  for (let i = 0; i < 1.2 * STOPPED_MS; i += 50) {
    alive.peer.write('a ping');
    await sleep(50);
  }
  assert.equal(alive.ended(), false);
  alive.peer.end();
  await once(alive.ours, 'close');
});

test('one that may say nothing has its time from when it has taken everything', async () => {
  const { ours, peer } = await pair();
  const bytes = 16 * 1024 * 1024;
  const silentMs = 3_000;
  ours.write(Buffer.alloc(bytes));
  lingerForPeer(ours, MUTE, { ...TIMES, silentMs });
  await sleep(silentMs);
  peer.resume();
  while (peer.bytesRead < bytes) await sleep(1);
  const took = performance.now();
  await once(peer, 'end');
  // That everything has been taken is seen up to a second late, or a moment before this program sees it.
  assert.ok(performance.now() - took >= silentMs / 2);
  peer.end();
  await once(ours, 'close');
});

test('one that may say nothing gets our FIN when nothing has come for a while', async () => {
  const { ours, peer, ended } = await pair();
  peer.resume();
  lingerForPeer(ours, MUTE, { ...TIMES, silentMs: STOPPED_MS });
  for (let i = 0; i < 1.2 * STOPPED_MS; i += 50) {
    peer.write('a ping');
    await sleep(50);
  }
  assert.equal(ended(), false);
  await once(peer, 'end');
  peer.end();
  await once(ours, 'close');
});

test('one that is alive but never ends gets our FIN when its time is over, and is given up however much it says', async () => {
  const { ours, peer } = await pair();
  peer.resume();
  lingerForPeer(ours, SLOW, { ...TIMES, noProgressMs: 400, peerMs: 400 });
  const talk = setInterval(() => peer.write('a ping'), 20).unref();
  await once(peer, 'end');
  await once(ours, 'close');
  clearInterval(talk);
  peer.destroy();
});

test('a channel leaves the end to its peer', async () => {
  const { ours, peer, ended } = await pair();
  peer.resume();
  const channel = new SocketChannel(freshReads(ours, Buffer.alloc(0)), { ...TIMES, silentMs: 20 });
  const closed = Promise.withResolvers<string>();
  channel.start({ data: () => undefined, drain: () => undefined, ended: () => undefined, closed: closed.resolve });
  channel.write([Buffer.from('all')]);
  channel.end('theirs');
  while (peer.bytesRead < 3) await sleep(5);
  await sleep(SOME_LOOKS_MS);
  assert.equal(ended(), false);
  peer.end();
  await closed.promise;
});

test('one that says much and takes nothing is given up', async () => {
  const { ours, peer } = await pair();
  ours.write(Buffer.alloc(16 * 1024 * 1024));
  lingerForPeer(ours, SLOW, { ...TIMES, noProgressMs: 400 });
  const closed = once(ours, 'close');
  const talk = setInterval(() => peer.write('more input'), 20).unref();
  await closed;
  clearInterval(talk);
  peer.destroy();
});
