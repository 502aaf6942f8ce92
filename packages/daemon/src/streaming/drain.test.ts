// Draining: nothing begins any more, who comes is told so, what runs goes on until its end or the end of the grace period.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import { targetOf } from './handler.ts';
import { handlers, RawClient, startServer, SUCCESS, type TestServer, ticketOf } from './test-server.ts';

const LONG_MS = 60_000;

/** A server whose sessions end when the test says so, and clients that are attached to it. */
async function stage(): Promise<{ fixture: TestServer; end: () => void; port: number; attach: () => Promise<RawClient> }> {
  const over = Promise.withResolvers<void>();
  const fixture = await startServer(async ({ transport }) => {
    transport.start(handlers({}));
    await over.promise;
    transport.write('stdout', Buffer.from('last words'));
    return SUCCESS;
  });
  const port = Number(new URL(fixture.server.base).port);
  const attach = async (): Promise<RawClient> => {
    const client = new RawClient(port);
    client.upgrade(fixture.server.issue(ticketOf()));
    await client.head();
    return client;
  };
  return { fixture, end: () => over.resolve(), port, attach };
}

test('while draining, calls are refused, connections get 503, unused tickets are dropped, sessions run to their end', async () => {
  const { fixture, end, port, attach } = await stage();
  const { server } = fixture;
  const client = await attach();
  const unused = server.issue(ticketOf({ containerId: 'unused' }));
  const draining = server.drain(LONG_MS);
  assert.deepEqual(fixture.dropped.map(targetOf), ['unused']);
  assert.throws(
    () => server.issue(ticketOf({ containerId: 'late' })),
    (error) =>
      error instanceof BerthError &&
      error.kind === 'unavailable' &&
      error.code === 'DAEMON_STOPPING' &&
      /stopping/.test(error.message),
  );
  assert.deepEqual(fixture.dropped.map(targetOf), ['unused', 'late']);
  const late = new RawClient(port);
  late.upgrade(unused);
  assert.match((await late.untilEnd()).toString('latin1'), /^HTTP\/1\.1 503 [^]*Retry-After: 5\r\n[^]*the daemon is stopping/);
  const plain = new RawClient(port);
  plain.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match((await plain.untilEnd()).toString('latin1'), /^HTTP\/1\.1 503 /);

  end();
  const received = (await client.untilEnd()).toString('latin1');
  assert.match(received, /last words[^]*"status":"Success"/);
  client.socket.end();
  await draining;
  await server.close();
  assert.equal(server.sessions, 0);
});

test('the grace period ends by its time, or when it is cut short; sessions are still there then', async () => {
  const { fixture, end, attach } = await stage();
  const client = await attach();
  const began = performance.now();
  await fixture.server.drain(200);
  assert.ok(performance.now() - began >= 199);
  assert.equal(fixture.server.sessions, 1);
  const atOnce = new AbortController();
  setTimeout(() => atOnce.abort(), 50);
  await fixture.server.drain(LONG_MS, atOnce.signal);
  assert.ok(performance.now() - began < LONG_MS / 2);
  assert.equal(client.ended, false);
  end();
  await client.untilEnd();
  client.socket.end();
  await fixture.server.close();
});

test('a grace period of nothing is over at once', async () => {
  const { fixture, end, attach } = await stage();
  const client = await attach();
  const began = performance.now();
  await fixture.server.drain(0);
  assert.ok(performance.now() - began < LONG_MS / 2);
  const closing = fixture.server.close(LONG_MS);
  await sleep(20);
  end();
  assert.match((await client.untilEnd()).toString('latin1'), /last words/, 'and the last bytes are waited for');
  client.socket.end();
  await closing;
});
