// Attach and exec over SPDY through the whole streaming server: what is on the wire from the request to the end.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { SpdyClient } from '../testing/spdy-client.ts';
import { awakeMs } from '../testing/stops.ts';
import type { TransportHandlers } from '../transport/transport.ts';
import { handlers, RawClient, type Serve, startServer, SUCCESS, ticketOf } from './test-server.ts';

const SUCCESS_JSON = '{"metadata":{},"status":"Success"}';

/** Says back what it hears, and ends with the client's input. */
const echo: Serve = ({ transport }) =>
  new Promise((resolve) => {
    const say = (text: string): void => void transport.write('stdout', Buffer.from(text));
    transport.start(
      handlers({
        stdin: (chunk) => say(`<${Buffer.from(chunk).toString()}>`),
        stdinEof: () => {
          transport.write('stderr', Buffer.from('bye'));
          void transport.finish(SUCCESS).then(() => resolve(SUCCESS));
        },
        resize: ({ columns, rows }) => say(`[${columns}x${rows}]`),
        closed: () => resolve(SUCCESS),
      }),
    );
  });

/** Holds a session until its client has gone; tells what it hears. */
const listen =
  (more: Partial<TransportHandlers>): Serve =>
  ({ transport }) =>
    new Promise((resolve) => {
      transport.start(
        handlers({
          ...more,
          closed: (reason) => {
            more.closed?.(reason);
            resolve(SUCCESS);
          },
        }),
      );
    });

/** The head of the answer to a request that is refused. */
async function refusal(url: string, protocols: readonly string[]): Promise<string> {
  try {
    (await SpdyClient.connect(url, { protocols })).destroy();
    return 'accepted';
  } catch (error) {
    return (error as Error).message;
  }
}

test("a session as Go's client has it", async () => {
  await using fixture = await startServer(echo);
  for (const method of ['POST', 'GET']) {
    const client = await SpdyClient.connect(fixture.server.issue(ticketOf()), { method });
    assert.equal(
      client.head,
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n',
    );
    const { error, stdin, stdout, stderr } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
    const resize = await client.open({ streamtype: 'resize' });
    await client.ping();
    resize.write('{"Width":81,"Height":25}\n{"Width":80,"Height":24}\n');
    stdin.write('hi');
    await client.ping();
    assert.equal(stdout.text, '[81x25][80x24]<hi>');
    stdin.end();
    assert.equal(await client.closed, 'FIN');
    assert.equal(stderr.text, 'bye');
    assert.equal(error.text, SUCCESS_JSON);
    assert.deepEqual(
      [stdin, stdout, stderr, error].map((stream) => stream.isEnded),
      [true, true, true, true],
    );
    const replies = [1, 3, 5, 7, 9].map((id) => `SYN_REPLY ${id}`);
    assert.deepEqual(client.frames, [...replies, 'PING 1', 'PING 3', 'GOAWAY 9 0']);
    client.end();
  }
  while (fixture.server.sessions > 0) await sleep(5);
});

test("nothing comes before the client's first frame, however long that takes", async () => {
  await using fixture = await startServer(async ({ transport }) => {
    transport.start(handlers({}));
    transport.write('stdout', Buffer.from('early output'));
    await transport.finish(SUCCESS);
    return SUCCESS;
  });
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf({ stdin: false, stderr: false })));
  await sleep(200);
  assert.equal(client.bytes, 0);
  const { error, stdout } = await client.openSession('error', 'stdout');
  await client.closed;
  assert.equal(stdout.text, 'early output');
  assert.equal(error.text, SUCCESS_JSON);
  client.end();
});

test('frames that come with the request are the first', async () => {
  await using fixture = await startServer(echo);
  const { pathname, host, port } = new URL(fixture.server.issue(ticketOf()));
  const raw = new RawClient(Number(port));
  const head = [
    `POST ${pathname} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: upgrade',
    'upgrade: spdy/3.1',
    'x-stream-protocol-version: v4.channel.k8s.io, v3.channel.k8s.io',
    'Content-Length: 0',
  ];
  raw.socket.write(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), Buffer.from('800300060000000400000001', 'hex')]));
  assert.match(await raw.head(), /^HTTP\/1\.1 101 /);
  assert.equal((await raw.until((bytes) => bytes.length >= 12)).toString('hex'), '800300060000000400000001');
  raw.socket.destroy();
});

for (const [offered, chosen] of [
  [['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v3.channel.k8s.io'], 'v4.channel.k8s.io'],
  [['v2.channel.k8s.io', 'v4.channel.k8s.io'], 'v2.channel.k8s.io'],
  [['v3.channel.k8s.io'], 'v3.channel.k8s.io'],
  [['channel.k8s.io'], 'channel.k8s.io'],
  [['nonsense', 'constructor', 'channel.k8s.io'], 'channel.k8s.io'],
] as const) {
  test(`of ${offered.join(', ')} the client's first that is known is spoken`, async () => {
    await using fixture = await startServer(listen({}));
    const client = await SpdyClient.connect(fixture.server.issue(ticketOf()), { protocols: offered });
    assert.ok(client.head.includes(`\r\nX-Stream-Protocol-Version: ${chosen}\r\n`));
    client.destroy();
  });
}

test('no protocol in common: 403 names those that there are, each in a header of its own; none offered: 400', async () => {
  await using fixture = await startServer(listen({}));
  const url = fixture.server.issue(ticketOf());
  const refused = await refusal(url, ['v5.channel.k8s.io']);
  assert.match(refused, /^HTTP\/1\.1 403 /);
  const lines = refused.split('\r\n');
  assert.deepEqual(
    lines.filter((line) => line.startsWith('X-Accepted-Stream-Protocol-Versions')),
    ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'].map(
      (name) => `X-Accepted-Stream-Protocol-Versions: ${name}`,
    ),
  );
  const missing = await refusal(url, []);
  assert.match(missing, /^HTTP\/1\.1 400 /);
  assert.equal(fixture.server.tickets, 1, 'the ticket is kept');
  const client = await SpdyClient.connect(url);
  client.destroy();
});

test('the ways in which a client can go', async () => {
  const heard: string[] = [];
  await using fixture = await startServer(listen({ stdinEof: () => heard.push('eof'), closed: (reason) => heard.push(reason) }));
  for (const [leave, expected] of [
    [(client: SpdyClient) => client.end(), ['client went away']],
    [(client: SpdyClient) => client.destroy(), ['client went away']],
    [
      (client: SpdyClient) => {
        client.goAway();
        client.end();
      },
      ['client went away'],
    ],
    [
      (client: SpdyClient) => client.send(Buffer.from('80020001', 'hex'), Buffer.alloc(4)),
      ['client broke the protocol: frame of version 2'],
    ],
  ] as const) {
    heard.length = 0;
    const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
    await client.openSession('error', 'stdin', 'stdout', 'stderr');
    leave(client);
    while (heard.length === 0) await sleep(2);
    assert.deepEqual(heard, expected);
    client.destroy();
    while (fixture.server.sessions > 0) await sleep(2);
  }
});

test("Go's client resets its streams when it leaves: the end of stdin comes first", async () => {
  const heard: string[] = [];
  await using fixture = await startServer(listen({ stdinEof: () => heard.push('eof'), closed: (reason) => heard.push(reason) }));
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  for (const stream of Object.values(await client.openSession('error', 'stdin', 'stdout', 'stderr'))) stream.cancel();
  client.goAway();
  client.end();
  while (heard.length < 2) await sleep(2);
  assert.deepEqual(heard, ['eof', 'client went away']);
});

test('a ticket for a terminal: clients with and without one', async () => {
  const serve: Serve = async ({ transport }) => {
    transport.start(handlers({}));
    transport.write('stdout', Buffer.from('from the terminal'));
    await transport.finish(SUCCESS);
    return SUCCESS;
  };
  await using fixture = await startServer(serve);
  for (const kinds of [['error', 'stdout', 'stderr'] as const, ['error', 'stdout', 'resize'] as const]) {
    const took = await awakeMs(async () => {
      const client = await SpdyClient.connect(fixture.server.issue(ticketOf({ stdin: false, stderr: true, tty: true })));
      const { error, stdout } = await client.openSession(...kinds);
      await client.closed;
      assert.equal(stdout.text, 'from the terminal');
      assert.equal(error.text, SUCCESS_JSON);
      client.end();
    });
    assert.ok(took < 1_000, 'nothing is waited for');
  }
});

test('when the server closes, sessions are told and their connections end', async () => {
  const closed: string[] = [];
  const fixture = await startServer(listen({ closed: (reason) => closed.push(reason) }));
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  await client.openSession('error', 'stdin', 'stdout', 'stderr');
  await fixture.server.close(50);
  await client.closed;
  assert.deepEqual(closed, ['ended by the server']);
});
