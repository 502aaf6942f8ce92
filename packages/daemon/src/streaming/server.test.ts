// The HTTP side of the streaming server: answers before the upgrade, tickets, caps, limits, closing.

import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import { silentLog } from '../util/log.ts';
import { targetOf } from './handler.ts';
import { LiveSessions } from './live-sessions.ts';
import { handlers, RawClient, type Serve, startServer, SUCCESS, ticketOf } from './test-server.ts';

const WEBSOCKET = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

const SPDY = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': 'v4.channel.k8s.io' };

type Answer = { status: number; headers: NodeJS.Dict<string | string[]>; body: string };

/** One request; an upgrade counts as status 101 and is dropped. */
function ask(url: string, method: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers, agent: false });
    request.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    request.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: 101, headers: response.headers, body: '' });
    });
    request.on('error', reject);
    request.end();
  });
}

/** Holds a session until its client has gone. */
const hold: Serve = ({ transport }) => new Promise((resolve) => transport.start(handlers({ closed: () => resolve(SUCCESS) })));

const isBerthError = (kind: string, code: string, text: RegExp) => (error: unknown) =>
  error instanceof BerthError && error.kind === kind && error.code === code && text.test(error.message);

/** A request for an upgrade as it stands on the wire, with more headers. */
const onTheWire = (url: string, ...more: readonly string[]): string => {
  const lines = Object.entries({ ...WEBSOCKET, 'sec-websocket-protocol': 'v5.channel.k8s.io' }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return [`GET ${new URL(url).pathname} HTTP/1.1`, 'host: x', ...lines, ...more, '', ''].join('\r\n');
};

/** Sends all of it at once, reads to the end of the connection. */
async function answered(url: string, request: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write(request);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

/** The same; gives the statuses. */
const statuses = async (url: string, request: string): Promise<string[]> =>
  [...(await answered(url, request)).matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status ?? '');

test('HEAD is refused without content, with an upgrade as without', async () => {
  await using fixture = await startServer(hold);
  const url = fixture.server.issue(ticketOf());
  for (const more of ['', 'Upgrade: websocket\r\nConnection: Upgrade\r\n']) {
    const answer = await answered(url, `HEAD ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\n${more}\r\n`);
    assert.match(answer, /^HTTP\/1\.1 40[045] [^]*\r\nContent-Length: [1-9]\d*\r\n[^]*\r\n\r\n$/);
    assert.equal(answer.indexOf('\r\n\r\n'), answer.length - 4);
  }
  assert.equal(fixture.server.tickets, 1);
});

test('an upgrade behind another request, or with a body that is not all there, becomes no session and keeps its ticket', async () => {
  await using fixture = await startServer(hold);
  const before = {
    'a request': 'GET /x HTTP/1.1\r\nHost: x\r\n\r\n',
    'two requests': 'GET /x HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2),
    'one that asks whether to go on': 'GET /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc',
    'as much as Node reads at once': `POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 65484\r\n\r\n${'a'.repeat(65_484)}`,
  };
  for (const [what, first] of Object.entries(before)) {
    const url = fixture.server.issue(ticketOf());
    const got = await statuses(url, first + onTheWire(url));
    assert.deepEqual(got.filter((status) => status !== '100')[0], '404', what);
    assert.ok(!got.includes('101'), what);
  }
  for (const header of ['Content-Length: 5', 'Transfer-Encoding: chunked']) {
    const url = fixture.server.issue(ticketOf());
    assert.deepEqual(await statuses(url, `${onTheWire(url, header)}3`), ['400'], header);
  }
  assert.deepEqual([fixture.server.sessions, fixture.server.tickets], [0, 6]);
});

test('the URL is absolute and has the actual port', async () => {
  await using fixture = await startServer(hold);
  assert.match(fixture.server.issue(ticketOf()), /^http:\/\/127\.0\.0\.1:[1-9]\d*\/attach\/[A-Za-z0-9_-]{32}$/);
});

test('an IPv6 address stands in brackets', async (t) => {
  const fixture = await startServer(hold, { host: '::1' }).catch((error: unknown) => error as BerthError);
  if (fixture instanceof BerthError) return t.skip(fixture.message);
  assert.match(fixture.server.base, /^http:\/\/\[::1\]:\d+$/);
  await fixture.server.close(0);
});

test('what is refused before the upgrade has its status, closes the connection and keeps the ticket', async () => {
  await using fixture = await startServer(hold);
  const url = fixture.server.issue(ticketOf());
  const elsewhere = (path: string): string => fixture.server.base + path;
  const without = (name: string): Record<string, string> =>
    Object.fromEntries(Object.entries(WEBSOCKET).filter(([key]) => key !== name));
  const cases: readonly [string, string, string, Record<string, string>, number, RegExp][] = [
    ['unknown path', elsewhere('/'), 'GET', WEBSOCKET, 404, /not found/],
    ['another method of CRI', url.replace('/attach/', '/exec/'), 'GET', WEBSOCKET, 404, /not found/],
    ['unknown ticket', elsewhere(`/attach/${'A'.repeat(32)}`), 'GET', WEBSOCKET, 404, /not found/],
    ['garbage ticket', elsewhere('/attach/..%2f..%00'), 'GET', WEBSOCKET, 404, /not found/],
    ['no ticket', elsewhere('/attach/'), 'GET', WEBSOCKET, 404, /not found/],
    ['more path', `${url}/x`, 'GET', WEBSOCKET, 404, /not found/],
    ['PUT', url, 'PUT', {}, 405, /PUT/],
    ['PUT with an upgrade', url, 'PUT', WEBSOCKET, 405, /PUT/],
    ['WebSocket by POST', url, 'POST', WEBSOCKET, 405, /GET/],
    ['no upgrade', url, 'GET', {}, 400, /upgrade/],
    ['POST without upgrade', url, 'POST', {}, 400, /upgrade/],
    ['unknown upgrade', url, 'GET', { ...WEBSOCKET, upgrade: 'h2c' }, 400, /upgrade/],
    ['no version', url, 'GET', without('sec-websocket-version'), 400, /13/],
    ['version 8', url, 'GET', { ...WEBSOCKET, 'sec-websocket-version': '8' }, 400, /13/],
    ['no key', url, 'GET', without('sec-websocket-key'), 400, /Key/],
    ['bad key', url, 'GET', { ...WEBSOCKET, 'sec-websocket-key': 'short' }, 400, /Key/],
    ['a body that does not come', url, 'GET', { ...WEBSOCKET, 'content-length': '5' }, 400, /body/],
    ['an empty body', url, 'GET', { ...WEBSOCKET, 'transfer-encoding': 'chunked' }, 400, /body/],
    ['unknown from', `${url}?from=never`, 'GET', WEBSOCKET, 400, /from/],
    ['from twice', `${url}?from=now&from=start`, 'GET', WEBSOCKET, 400, /from/],
    [
      'unknown subprotocol',
      url,
      'GET',
      { ...WEBSOCKET, 'sec-websocket-protocol': 'v3.channel.k8s.io, chat' },
      403,
      /v5\.channel\.k8s\.io/,
    ],
  ];
  const { server } = fixture;
  const forward = server.issue({ method: 'portforward', podId: 'p1', ports: [] });
  const offering = (protocol: string): Record<string, string> => ({ ...SPDY, 'x-stream-protocol-version': protocol });
  const spdyCases: typeof cases = [
    ['SPDY without a protocol', url, 'POST', { connection: 'Upgrade', upgrade: 'SPDY/3.1' }, 400, /X-Stream-Protocol-Version/],
    ['SPDY with a body', url, 'POST', { ...SPDY, 'content-length': '5' }, 400, /body/],
    ['SPDY by PUT', url, 'PUT', SPDY, 405, /PUT/],
    ['SPDY of another version', url, 'POST', { ...SPDY, upgrade: 'SPDY/2' }, 400, /upgrade to spdy\/3\.1 or websocket/],
    ['SPDY without Connection', url, 'POST', { ...SPDY, connection: 'close' }, 400, /upgrade/],
    ['SPDY v5', url, 'POST', offering('v5.channel.k8s.io'), 403, /v4\.channel\.k8s\.io/],
    ['port-forward for attach', url, 'POST', offering('portforward.k8s.io'), 403, /v4\.channel\.k8s\.io/],
    ['attach for port-forward', forward, 'POST', SPDY, 403, /portforward\.k8s\.io/],
    ['port-forward without a protocol', forward, 'POST', { connection: 'Upgrade', upgrade: 'SPDY/3.1' }, 400, /X-Stream-Protocol/],
    ['port-forward without an upgrade', forward, 'POST', {}, 400, /upgrade/],
    [
      'an unknown tunnel',
      forward,
      'GET',
      { ...WEBSOCKET, 'sec-websocket-protocol': 'SPDY/3.1+v4.channel.k8s.io' },
      403,
      /SPDY\/3\.1\+portforward/,
    ],
    ['a tunnel for attach', url, 'GET', { ...WEBSOCKET, 'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io' }, 403, /v5/],
    ['a ticket for attach on another path', url.replace('/attach/', '/portforward/'), 'POST', SPDY, 404, /not found/],
  ];
  // What every object of JavaScript's answers to is no protocol.
  const named = ['constructor', '__proto__', 'valueof'].flatMap((upgrade): typeof cases => [
    [`upgrade to ${upgrade}`, url, 'GET', { ...WEBSOCKET, upgrade }, 400, /upgrade to spdy\/3\.1 or websocket/],
    [`upgrade to ${upgrade}`, forward, 'POST', { ...SPDY, upgrade }, 400, /upgrade to spdy\/3\.1 or websocket/],
  ]);
  for (const [name, where, method, headers, status, body] of [...cases, ...spdyCases, ...named]) {
    const answer = await ask(where, method, headers);
    assert.equal(answer.status, status, name);
    assert.match(answer.body, body, name);
    assert.equal(answer.headers['connection'], 'close', name);
    assert.match(String(answer.headers['content-type']), /^text\/plain/, name);
    if (status === 405) assert.ok(answer.headers['allow'], name);
  }
  assert.equal(fixture.server.tickets, 2);
  assert.equal((await ask(url, 'GET', WEBSOCKET)).status, 101);
  assert.equal((await ask(url, 'GET', WEBSOCKET)).status, 404, 'a used ticket');
  assert.equal((await ask(url, 'POST', SPDY)).status, 404, 'a used ticket');
  assert.deepEqual(fixture.dropped, []);
});

test('a fault of the daemon costs its request 500 and leaves the daemon, and its log has it', async () => {
  await using fixture = await startServer(hold);
  const url = fixture.server.issue(ticketOf());
  let faulty = false;
  const cursed = fixture.server.issue({
    ...ticketOf(),
    get containerId(): string {
      if (faulty) throw new Error('a fault');
      return 'c2';
    },
  });
  faulty = true;
  const answer = await ask(cursed, 'GET', WEBSOCKET);
  assert.deepEqual([answer.status, answer.body], [500, 'Internal error occurred\n']);
  assert.equal((await ask(url, 'GET', WEBSOCKET)).status, 101);
});

test('a fault while a session is opened ends its connection, drops its ticket and leaves the daemon', async () => {
  const live = new LiveSessions({ log: silentLog });
  await using fixture = await startServer(hold, {}, undefined, undefined, live);
  const begin = live.begin.bind(live);
  live.begin = () => {
    live.begin = begin;
    throw new Error('a fault');
  };
  const client = new RawClient(Number(new URL(fixture.server.base).port));
  client.upgrade(fixture.url());
  await client.untilEnd();
  assert.equal(fixture.dropped.length, 1);
  assert.equal((await ask(fixture.server.issue(ticketOf()), 'GET', WEBSOCKET)).status, 101);
});

test('neither Host nor Origin matters', async () => {
  await using fixture = await startServer(hold);
  const headers = { ...WEBSOCKET, host: 'api.example.com', origin: 'https://evil.example' };
  assert.equal((await ask(fixture.server.issue(ticketOf()), 'GET', headers)).status, 101);
});

test('of twenty clients that come with one ticket at once, one gets in', async () => {
  await using fixture = await startServer(hold);
  const url = fixture.server.issue(ticketOf());
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(url, 'GET', WEBSOCKET)));
  assert.deepEqual(
    answers.map((answer) => answer.status).sort((a, b) => a - b),
    [101, ...Array.from({ length: 19 }, () => 404)],
  );
});

test('an expired ticket is not found and was dropped', async () => {
  await using fixture = await startServer(hold, { ticketTtlMs: 30 });
  const url = fixture.server.issue(ticketOf());
  while (fixture.dropped.length === 0) await sleep(5);
  assert.equal((await ask(url, 'GET', WEBSOCKET)).status, 404);
});

test('from and who connected reach the handler', async () => {
  const seen: string[] = [];
  await using fixture = await startServer((session) => {
    seen.push(`${session.info.from} ${session.info.remoteAddress} ${session.ticket.containerId}`);
    return hold(session);
  });
  for (const query of ['', '?from=start', '?from=now', '?other=1&from=start']) {
    assert.equal((await ask(fixture.server.issue(ticketOf()) + query, 'GET', WEBSOCKET)).status, 101);
  }
  assert.deepEqual(
    seen,
    ['now', 'start', 'now', 'start'].map((from) => `${from} 127.0.0.1 c1`),
  );
});

test('session caps hold at the ticket and at the connection, and make room again', async () => {
  await using fixture = await startServer(hold, { maxSessions: 3, maxSessionsPerContainer: 2 });
  const { server } = fixture;
  const urls = ['a', 'a', 'a', 'b', 'c'].map((containerId) => server.issue(ticketOf({ containerId })));
  const port = Number(new URL(server.base).port);
  const open = async (url: string | undefined): Promise<RawClient> => {
    const client = new RawClient(port);
    client.upgrade(url ?? '');
    await client.until((bytes) => bytes.includes('101'));
    return client;
  };
  const first = await open(urls[0]);
  await open(urls[1]);
  const full = await ask(urls[2] ?? '', 'GET', WEBSOCKET);
  assert.equal(full.status, 429);
  assert.equal(full.headers['retry-after'], '60');
  assert.match(full.body, /container or pod a has 2 sessions/);
  assert.throws(
    () => server.issue(ticketOf({ containerId: 'a' })),
    isBerthError('resource-exhausted', 'TOO_MANY_SESSIONS', /container or pod a /),
  );
  assert.equal(fixture.dropped.length, 1, 'what was kept for the refused ticket is dropped');
  const third = await open(urls[3]);
  assert.equal((await ask(urls[4] ?? '', 'GET', WEBSOCKET)).status, 429);
  assert.throws(
    () => server.issue(ticketOf({ containerId: 'd' })),
    isBerthError('resource-exhausted', 'TOO_MANY_SESSIONS', /3 sessions/),
  );
  first.socket.destroy();
  third.socket.destroy();
  while (server.sessions > 1) await sleep(5);
  const again = await open(urls[2]);
  assert.equal(server.sessions, 2);
  again.socket.destroy();
});

test('too many tickets are refused, and what was kept for them dropped', async () => {
  await using fixture = await startServer(hold, { maxTickets: 1 });
  fixture.server.issue(ticketOf());
  assert.throws(() => fixture.server.issue(ticketOf()), isBerthError('resource-exhausted', 'TOO_MANY_TICKETS', /1 /));
  assert.equal(fixture.dropped.length, 1);
});

test('addresses that others can reach are refused', async () => {
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.com', '']) {
    await assert.rejects(
      startServer(hold, { host }),
      isBerthError('invalid-argument', 'STREAMING_ADDRESS_NOT_LOOPBACK', /TLS/),
      host,
    );
  }
});

test('a busy port is named', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as AddressInfo;
  await assert.rejects(
    startServer(hold, { port }),
    isBerthError('failed-precondition', 'STREAMING_PORT_BUSY', new RegExp(`port ${port} on 127\\.0\\.0\\.1`)),
  );
  other.close();
});

test('connections that send no whole request are closed, too long headers refused', async () => {
  await using fixture = await startServer(hold, { headerTimeoutMs: 150 }, { checkMs: 50 });
  const port = Number(new URL(fixture.server.base).port);
  const silent = new RawClient(port);
  const slow = new RawClient(port);
  slow.socket.write('GET /attach/x HTTP/1.1\r\nHost: x\r\n');
  await Promise.all([silent.untilEnd(), slow.untilEnd()]);
  assert.match(slow.received.toString(), /^HTTP\/1\.1 408 /);
  await using patient = await startServer(hold, { maxHeaderBytes: 2_048 });
  const long = new RawClient(Number(new URL(patient.server.base).port));
  long.socket.write(`GET /attach/x HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(4_000)}\r\n\r\n`);
  assert.match((await long.untilEnd()).toString(), /^HTTP\/1\.1 431 /);
});

test('bytes that come with the request are the first input', async () => {
  const got = Promise.withResolvers<string>();
  await using fixture = await startServer(({ transport }) => {
    transport.start(handlers({ stdin: (chunk) => got.resolve(Buffer.from(chunk).toString()) }));
    return got.promise.then(() => transport.finish(SUCCESS)).then(() => SUCCESS);
  });
  const client = new RawClient(Number(new URL(fixture.server.base).port));
  // Channel 0 and "hi", masked with zeros.
  client.upgrade(fixture.server.issue(ticketOf()), 'v4.channel.k8s.io', Buffer.from([0x82, 0x83, 0, 0, 0, 0, 0, 0x68, 0x69]));
  assert.equal(await got.promise, 'hi');
  client.socket.end();
});

test('a handler that fails does not look like success', async () => {
  await using fixture = await startServer(() => Promise.reject(new Error('a fault of ours')));
  const client = new RawClient(Number(new URL(fixture.server.base).port));
  client.upgrade(fixture.server.issue(ticketOf()));
  const received = (await client.untilEnd()).toString('latin1');
  assert.match(received, /"status":"Failure","message":"Internal error occurred"/);
  assert.doesNotMatch(received, /a fault of ours/);
  client.socket.end();
  while (fixture.server.sessions > 0) await sleep(5);
});

test('closing drops tickets, accepts nobody, lets sessions end that can and ends the others', async () => {
  const closed: string[] = [];
  const fixture = await startServer(
    ({ transport, ticket }) =>
      new Promise((resolve) => {
        transport.start(
          handlers({
            closed: (reason) => {
              closed.push(`${ticket.containerId} ${reason}`);
              resolve(SUCCESS);
            },
          }),
        );
        if (ticket.containerId === 'ends') setTimeout(() => void transport.finish(SUCCESS).then(() => resolve(SUCCESS)), 100);
      }),
  );
  const { server } = fixture;
  const port = Number(new URL(server.base).port);
  const unused = server.issue(ticketOf({ containerId: 'unused' }));
  const clients = ['ends', 'stays'].map((containerId) => {
    const client = new RawClient(port);
    client.upgrade(server.issue(ticketOf({ containerId })));
    return client;
  });
  for (const client of clients) await client.head();
  const closing = server.close(3_000);
  assert.equal(server.close(), closing, 'closing again is the same closing');
  assert.deepEqual(fixture.dropped.map(targetOf), ['unused']);
  await assert.rejects(ask(unused, 'GET', WEBSOCKET), /ECONNREFUSED/);
  const [ends, stays] = clients;
  const ended = await ends?.untilEnd();
  assert.match(ended?.toString('latin1') ?? '', /"status":"Success"/);
  ends?.socket.end();
  const stayed = await stays?.untilEnd();
  assert.deepEqual([...(stayed?.subarray(-4) ?? [])], [0x88, 2, 0x03, 0xe9], 'close 1001');
  await closing;
  assert.deepEqual(closed, ['stays ended by the server']);
  assert.equal(server.sessions, 0);
});
