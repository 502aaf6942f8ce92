// Limits before and around sessions, with real sockets: silent and slow connections, too many of them, too long requests, caps by kind of session.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { Certificates } from '../testing/certificates.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import { BerthError } from '../util/errors.ts';
import type { ExecTicket, PortForwardTicket } from './handler.ts';
import { SessionTable } from './session-table.ts';
import { handlers, RawClient, type Serve, startServer, SUCCESS, type TestServer, ticketOf } from './test-server.ts';

const hold: Serve = ({ transport }) => new Promise((resolve) => transport.start(handlers({ closed: () => resolve(SUCCESS) })));

const portOf = (fixture: TestServer): number => Number(new URL(fixture.server.base).port);

/** Long enough for a client that sleeps between its connection and its request. */
const HEADER_TIMEOUT_MS = 5_000;

/** Attaches as a proper client does. */
async function attach(fixture: TestServer, url = fixture.server.issue(ticketOf())): Promise<RawClient> {
  const client = new RawClient(portOf(fixture));
  client.upgrade(url);
  assert.match(await client.head(), /^HTTP\/1\.1 101 /);
  return client;
}

/** A connection that sends a header now and then and never ends its request. */
async function loris(fixture: TestServer): Promise<RawClient> {
  const client = new RawClient(portOf(fixture));
  await once(client.socket, 'connect');
  client.socket.write('GET /attach/x HTTP/1.1\r\nHost: x\r\n');
  const timer = setInterval(() => client.socket.writable && client.socket.write('X: y\r\n'), 100);
  client.socket.once('close', () => clearInterval(timer));
  return client;
}

test('300 connections that never end their request do not keep proper clients out, and are closed in time', async () => {
  await using fixture = await startServer(
    hold,
    { maxConnections: 120, maxWaitingConnections: 100, headerTimeoutMs: HEADER_TIMEOUT_MS },
    { checkMs: 100 },
  );
  const slow: RawClient[] = [];
  const clients: RawClient[] = [];
  for (let i = 0; i < 300; i += 1) {
    slow.push(await loris(fixture));
    if (i % 30 !== 29) continue;
    clients.push(await attach(fixture));
    assert.ok(
      slow.every(({ received }) => !received.includes('408')),
      'a proper client does not wait until the others have had their time',
    );
  }
  assert.equal(fixture.server.sessions, 10);
  assert.ok(slow.filter((client) => client.ended).length >= 200, 'the oldest made room');
  await Promise.all(slow.map((client) => client.untilEnd()));
  assert.ok(
    clients.every((client) => !client.ended),
    'sessions are untouched',
  );
  for (const { socket } of clients) socket.destroy();
});

test('connections that do not even begin a TLS handshake do not keep proper clients out either', async () => {
  using certs = new Certificates();
  const limits = { maxConnections: 60, maxWaitingConnections: 50, headerTimeoutMs: HEADER_TIMEOUT_MS };
  await using fixture = await startServer(hold, { ...limits, tls: certs.issue('server') }, { checkMs: 100 });
  const silent = Array.from({ length: 150 }, () => new RawClient(portOf(fixture)));
  await Promise.all(silent.map((client) => once(client.socket, 'connect')));
  const socket = connectTls({ port: portOf(fixture), host: '127.0.0.1', ca: certs.caPem });
  await once(socket, 'secureConnect');
  socket.write('GET /x HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(String(((await once(socket, 'data')) as [Buffer])[0]), /^HTTP\/1\.1 404 /);
  socket.destroy();
  await Promise.all(silent.map((client) => client.untilEnd()));
});

test('too many connections are refused at once; one that goes makes room', async () => {
  await using fixture = await startServer(hold, { maxConnections: 3, maxWaitingConnections: 3 });
  const urls = Array.from({ length: 4 }, () => fixture.server.issue(ticketOf()));
  const clients: RawClient[] = [];
  for (const url of urls.slice(0, 3)) clients.push(await attach(fixture, url));
  const began = performance.now();
  const refused = new RawClient(portOf(fixture));
  await refused.untilEnd();
  assert.ok(performance.now() - began < HEADER_TIMEOUT_MS);
  assert.equal(refused.received.length, 0);
  assert.ok(clients.every((client) => !client.ended));
  clients[0]?.socket.destroy();
  while (fixture.server.sessions > 2) await sleep(5);
  clients.push(await attach(fixture, urls[3]));
  for (const { socket } of clients) socket.destroy();
});

test('long request lines, long headers and many headers are refused with a status', async () => {
  await using fixture = await startServer(hold, { maxHeaderBytes: 4_096 });
  const answer = async (request: string): Promise<string> => {
    const client = new RawClient(portOf(fixture));
    client.socket.write(request);
    return (await client.untilEnd()).toString('latin1').split('\r\n')[0] ?? '';
  };
  const line = `GET /attach/${'x'.repeat(5_000)} HTTP/1.1\r\nHost: x\r\n\r\n`;
  assert.match(await answer(line), /^HTTP\/1\.1 431 /);
  assert.match(await answer(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(5_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
  assert.match(await answer(`GET / HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(1_000)}\r\n`), /^HTTP\/1\.1 431 /);
  assert.match(await answer(`GET / HTTP/1.1\r\n\r\n`), /^HTTP\/1\.1 400 /);
});

const execOf = (containerId: string): ExecTicket => {
  const { stdin, stdout, stderr, tty } = ticketOf();
  return { method: 'exec', containerId, command: ['true'], stdin, stdout, stderr, tty };
};
const forwardOf = (podId: string): PortForwardTicket => ({ method: 'portforward', podId, ports: [] });

const isFull = (text: RegExp) => (error: unknown) =>
  error instanceof BerthError &&
  error.kind === 'resource-exhausted' &&
  error.code === 'TOO_MANY_SESSIONS' &&
  text.test(error.message);

test('attach and exec sessions of a container count together, and all kinds in all', async () => {
  await using fixture = await startServer(hold, { maxSessions: 3, maxSessionsPerContainer: 2 });
  const { server } = fixture;
  const late = server.issue(execOf('a'));
  const other = server.issue(execOf('c'));
  const open = [
    await attach(fixture, server.issue(ticketOf({ containerId: 'a' }))),
    await attach(fixture, server.issue(execOf('a'))),
  ];
  assert.throws(() => server.issue(execOf('a')), isFull(/container or pod a has 2 sessions/));
  assert.throws(() => server.issue(ticketOf({ containerId: 'a' })), isFull(/container or pod a has 2 sessions/));
  const refused = new RawClient(portOf(fixture));
  refused.upgrade(late);
  assert.match((await refused.untilEnd()).toString('latin1'), /^HTTP\/1\.1 429 [^]*container or pod a has 2 sessions/);
  open.push(await attach(fixture, server.issue(execOf('b'))));
  for (const ticket of [ticketOf({ containerId: 'd' }), execOf('d'), forwardOf('p')]) {
    assert.throws(() => server.issue(ticket), isFull(/3 sessions/), ticket.method);
  }
  const full = new RawClient(portOf(fixture));
  full.upgrade(other);
  assert.match((await full.untilEnd()).toString('latin1'), /^HTTP\/1\.1 429 /);
  for (const { socket } of open) socket.destroy();
  while (server.sessions > 0) await sleep(5);
  open.push(await attach(fixture, late));
  open.at(-1)?.socket.destroy();
});

test('port-forward sessions are counted by their pod', async () => {
  const table = new SessionTable({ maxSessions: 10, maxSessionsPerContainer: 2 });
  const ends: (() => void)[] = [];
  const add = (podId: string): void => {
    const transport: Pick<PortForwardTransport, 'destroy'> = { destroy: () => undefined };
    table.add(podId, transport, new Promise<void>((resolve) => ends.push(resolve)));
  };
  add('p');
  assert.equal(table.full('p'), undefined);
  add('p');
  assert.match(table.full('p')?.message ?? '', /container or pod p has 2 sessions/);
  assert.equal(table.full('q'), undefined);
  ends[0]?.();
  await sleep(1);
  assert.equal(table.full('p'), undefined);
  ends[1]?.();
  await table.idle();
  assert.equal(table.size, 0);
});
