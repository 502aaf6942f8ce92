// The six subprotocols against a real client (`ws`), and what no library would send, byte by byte.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { test } from 'node:test';
import { decodeMessage, encodeMessage, SUBPROTOCOL_NAMES, SUBPROTOCOLS, type Subprotocol } from '@berth/attach-protocol';
import { WebSocket } from 'ws';
import type { SessionStatus } from '../transport/transport.ts';
import { clientFrame } from '../transport/websocket/test-frames.ts';
import { handlers, RawClient, type Serve, startServer, SUCCESS } from './test-server.ts';

const FAILURE: SessionStatus = { status: 'Failure', reason: 'InternalError', message: 'it broke', code: 500 };
const QUIT = 'q'.charCodeAt(0);
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, i) => i);

/** Sends input back on both streams, says sizes on stdout, and ends at `q` or EOF. */
const echo =
  (status: SessionStatus = SUCCESS): Serve =>
  ({ transport }) =>
    new Promise((resolve) => {
      const end = (): void => void transport.finish(status).then(() => resolve(status));
      transport.start(
        handlers({
          stdin: (chunk) => {
            // Input that comes together may be joined.
            const last = chunk.at(-1) === QUIT;
            const rest = last ? chunk.subarray(0, -1) : chunk;
            transport.write('stdout', rest);
            transport.write('stderr', rest);
            if (last) end();
          },
          stdinEof: end,
          resize: ({ columns, rows }) => transport.write('stdout', Buffer.from(`${columns}x${rows}`)),
          closed: () => resolve(status),
        }),
      );
    });

type Seen = { messages: string[]; types: Set<string>; code: number; lengths: number[] };

/** Runs a client until the connection is closed. Messages come as `channel:latin1`. */
async function run(url: string, protocol: Subprotocol, talk: (client: WebSocket) => void): Promise<Seen> {
  const client = new WebSocket(url, protocol.name === '' ? [] : [protocol.name]);
  const seen: Seen = { messages: [], types: new Set(), code: 0, lengths: [] };
  client.on('message', (data: Buffer, isBinary) => {
    seen.types.add(isBinary ? 'binary' : 'text');
    seen.lengths.push(data.length);
    const message = decodeMessage(protocol, data);
    assert.ok(message, 'every message has a channel');
    seen.messages.push(`${message.channel}:${Buffer.from(message.payload).toString('latin1')}`);
  });
  await once(client, 'open');
  assert.equal(client.protocol, protocol.name);
  talk(client);
  [seen.code] = (await once(client, 'close')) as [number];
  return seen;
}

/** As a client writes it: base64 as text, binary as binary. */
const say = (client: WebSocket, protocol: Subprotocol, channel: number, payload: Uint8Array | string): void =>
  client.send(encodeMessage(protocol, channel, typeof payload === 'string' ? Buffer.from(payload) : payload));

/** Input may be cut and joined: adjacent messages of a channel are one. */
function joined(messages: readonly string[]): string[] {
  const result: string[] = [];
  for (const message of messages) {
    const last = result.at(-1);
    if (last !== undefined && last.length > 2 && last[0] === message[0]) result[result.length - 1] = last + message.slice(2);
    else result.push(message);
  }
  return result;
}

for (const name of SUBPROTOCOL_NAMES) {
  const protocol = SUBPROTOCOLS[name];
  const successes = protocol.status === 'json' ? ['3:{"metadata":{},"status":"Success"}'] : [];
  const kind = protocol.encoding === 'binary' ? 'binary' : 'text';

  test(`"${name}": all byte values go both ways, then status and close 1000`, async () => {
    await using fixture = await startServer(echo());
    const seen = await run(fixture.url({ stderr: false }), protocol, (client) => {
      say(client, protocol, 0, ALL_BYTES);
      say(client, protocol, 4, '{"Width":80,"Height":24}\n');
      say(client, protocol, 4, '{"height":0,"width":7}');
      say(client, protocol, 0, 'q');
    });
    assert.deepEqual(joined(seen.messages), ['1:', `1:${Buffer.from(ALL_BYTES).toString('latin1')}80x24`, ...successes]);
    assert.deepEqual([...seen.types], [kind]);
    assert.equal(seen.code, 1000);
  });

  test(`"${name}": a failure is told`, async () => {
    await using fixture = await startServer(echo(FAILURE));
    const seen = await run(fixture.url(), protocol, (client) => say(client, protocol, 0, 'q'));
    const failure =
      protocol.status === 'json'
        ? '3:{"metadata":{},"status":"Failure","message":"it broke","reason":"InternalError","code":500}'
        : '3:it broke';
    assert.deepEqual(seen.messages, ['1:', failure]);
    assert.equal(seen.code, 1000);
  });

  test(`"${name}": only what was asked for is sent, and the first message is on its lowest channel`, async () => {
    const cases = [
      [{ stdout: true, stderr: true }, ['1:', '1:x', '2:x']],
      [{ stdout: true, stderr: false }, ['1:', '1:x']],
      [{ stdout: false, stderr: true }, ['2:', '2:x']],
      [{ stdout: false, stderr: false }, ['3:']],
    ] as const;
    for (const [streams, expected] of cases) {
      await using fixture = await startServer(echo());
      const seen = await run(fixture.url(streams), protocol, (client) => {
        say(client, protocol, 0, 'x');
        setTimeout(() => say(client, protocol, 0, 'q'), 50);
      });
      assert.deepEqual(seen.messages, [...expected, ...successes]);
      assert.ok(seen.lengths.every((length) => length > 0));
    }
  });
}

test('an exit code reaches clients of JSON statuses', async () => {
  const status: SessionStatus = {
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: 'command terminated',
    code: 500,
    exitCode: 7,
  };
  await using fixture = await startServer(echo(status));
  const protocol = SUBPROTOCOLS['v5.channel.k8s.io'];
  const seen = await run(fixture.url(), protocol, (client) => say(client, protocol, 0, 'q'));
  const { reason, details } = JSON.parse(seen.messages[1]?.slice(2) ?? '') as { reason: string; details: unknown };
  assert.equal(reason, 'NonZeroExitCode');
  assert.deepEqual(details, { causes: [{ reason: 'ExitCode', message: '7' }] });
});

test('v5 CLOSE of stdin is EOF, and output goes on until the session ends', async () => {
  const protocol = SUBPROTOCOLS['v5.channel.k8s.io'];
  let late = 0;
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) => {
        let eof = false;
        transport.start(
          handlers({
            stdin: () => {
              if (eof) late += 1;
            },
            stdinEof: () => {
              eof = true;
              setTimeout(() => {
                transport.write('stdout', Buffer.from('after'));
                void transport.finish(SUCCESS).then(() => resolve(SUCCESS));
              }, 100);
            },
          }),
        );
      }),
  );
  const seen = await run(fixture.url(), protocol, (client) => {
    say(client, protocol, 0, 'input');
    client.send(Buffer.of(255, 0));
    say(client, protocol, 0, 'discarded');
    client.send(Buffer.of(255, 0));
  });
  assert.deepEqual(seen.messages, ['1:', '1:after', '3:{"metadata":{},"status":"Success"}']);
  assert.equal(late, 0);
});

test('text is accepted on binary protocols, unknown channels and empty messages are dropped, bad base64 too', async () => {
  await using fixture = await startServer(echo());
  const binary = SUBPROTOCOLS['v4.channel.k8s.io'];
  const seen = await run(fixture.url({ stderr: false }), binary, (client) => {
    client.send('');
    client.send(Buffer.alloc(0));
    for (const channel of [1, 2, 3, 5, 100, 255]) say(client, binary, channel, 'dropped');
    client.send('\0text');
    say(client, binary, 0, 'q');
  });
  assert.deepEqual(joined(seen.messages).slice(0, 2), ['1:', '1:text']);
  const base64 = SUBPROTOCOLS['v4.base64.channel.k8s.io'];
  const again = await run(fixture.url({ stderr: false }), base64, (client) => {
    client.send('0***');
    client.send('0dGV');
    client.send('0dGV4dA');
    say(client, base64, 0, 'fine');
    say(client, base64, 0, 'q');
  });
  assert.deepEqual(joined(again.messages).slice(0, 2), ['1:', '1:fine']);
});

test('fragments are one message: only the first byte of the first is the channel', async () => {
  await using fixture = await startServer(echo());
  const protocol = SUBPROTOCOLS['v4.channel.k8s.io'];
  const seen = await run(fixture.url({ stderr: false }), protocol, (client) => {
    client.send(Buffer.from('\0'), { fin: false });
    client.send(Buffer.from('\0a'), { fin: false });
    client.ping();
    client.send(Buffer.from('\u0004b'), { fin: true });
    setTimeout(() => say(client, protocol, 0, 'q'), 50);
  });
  assert.deepEqual(joined(seen.messages).slice(0, 2), ['1:', '1:\0a\u0004b']);
});

test('chunks longer than a message are several messages', async () => {
  const bytes = Buffer.alloc(200_001, 'z');
  for (const name of ['v5.channel.k8s.io', 'v4.base64.channel.k8s.io'] as const) {
    await using fixture = await startServer(async ({ transport }) => {
      transport.start(handlers({}));
      transport.write('stdout', bytes);
      await transport.finish(SUCCESS);
      return SUCCESS;
    });
    const seen = await run(fixture.url(), SUBPROTOCOLS[name], () => undefined);
    const output = seen.messages.filter((message) => message.startsWith('1:')).map((message) => message.length - 2);
    assert.deepEqual(output, [0, 65_536, 65_536, 65_536, 200_001 - 3 * 65_536]);
  }
});

test('what breaks the protocol ends the session with its close code, after the input before it', async () => {
  const cases: readonly [string, Buffer, number][] = [
    ['unmasked', clientFrame({ opcode: 2, payload: Buffer.from('\0x'), masked: false }), 1002],
    ['reserved bit', clientFrame({ opcode: 2, reserved: 1 }), 1002],
    ['unknown opcode', clientFrame({ opcode: 5 }), 1002],
    ['33 MiB', clientFrame({ opcode: 2, claimedLength: 33 * 2 ** 20 }), 1009],
    ['malformed CLOSE', clientFrame({ opcode: 2, payload: Buffer.of(255, 9) }), 1002],
    ['close of one byte', clientFrame({ opcode: 8, payload: Buffer.of(1) }), 1002],
  ];
  for (const [name, bytes, code] of cases) {
    const events: string[] = [];
    const over = Promise.withResolvers<void>();
    await using fixture = await startServer(
      ({ transport }) =>
        new Promise((resolve) =>
          transport.start(
            handlers({
              stdin: (chunk) => events.push(Buffer.from(chunk).toString()),
              closed: (reason) => {
                events.push(reason.split(':')[0] ?? '');
                over.resolve();
                resolve(SUCCESS);
              },
            }),
          ),
        ),
    );
    const client = new RawClient(Number(new URL(fixture.server.base).port));
    client.upgrade(fixture.url());
    await client.head();
    client.socket.write(
      Buffer.concat([clientFrame({ opcode: 2, payload: Buffer.from('\0before') }), bytes, Buffer.alloc(100_000)]),
    );
    const received = await client.untilEnd();
    // The empty first message, then the close frame.
    assert.equal(received[3], 0x88, name);
    assert.equal(received.readUInt16BE(5), code, name);
    await over.promise;
    assert.deepEqual(events, ['before', 'client broke the protocol'], name);
    client.socket.end();
  }
});

test("the client's close is answered with its code, and the session hears of it after the input", async () => {
  const events: string[] = [];
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) =>
        transport.start(
          handlers({
            stdin: (chunk) => events.push(Buffer.from(chunk).toString()),
            closed: (reason) => {
              events.push(reason);
              resolve(SUCCESS);
            },
          }),
        ),
      ),
  );
  for (const [sent, expected] of [
    [Buffer.of(0x03, 0xe8), [0x88, 2, 0x03, 0xe8]],
    [Buffer.of(0x0f, 0xa0, 0x68), [0x88, 2, 0x0f, 0xa0]],
    [Buffer.alloc(0), [0x88, 0]],
  ] as const) {
    const client = new RawClient(Number(new URL(fixture.server.base).port));
    client.upgrade(fixture.url());
    await client.head();
    client.socket.write(
      Buffer.concat([clientFrame({ opcode: 2, payload: Buffer.from('\0in') }), clientFrame({ opcode: 8, payload: sent })]),
    );
    const received = await client.untilEnd();
    assert.deepEqual([...received.subarray(3)], [...expected]);
    client.socket.end();
  }
  assert.deepEqual(events, ['in', 'client closed with 1000', 'in', 'client closed with 4000', 'in', 'client closed with no code']);
});

test('the answer to the upgrade echoes the chosen subprotocol, and none when none was offered', async () => {
  await using fixture = await startServer(echo());
  const port = Number(new URL(fixture.server.base).port);
  for (const [offer, expected] of [
    ['chat, v4.channel.k8s.io, v5.channel.k8s.io', /Sec-WebSocket-Protocol: v4\.channel\.k8s\.io\r\n/],
    ['', /^(?![^]*Sec-WebSocket-Protocol)/],
  ] as const) {
    const client = new RawClient(port);
    client.upgrade(fixture.url(), offer);
    const head = await client.head();
    assert.match(head, /^HTTP\/1\.1 101 /);
    assert.match(head, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/);
    assert.match(head, expected);
    client.socket.destroy();
  }
});

test('a base64 message of 2 MiB is taken, one byte more closes with 1009', async () => {
  const most = 2 * 2 ** 20;
  let bytes = 0;
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) =>
        transport.start(handlers({ stdin: (chunk) => void (bytes += chunk.length), closed: () => resolve(SUCCESS) })),
      ),
  );
  const client = new RawClient(Number(new URL(fixture.server.base).port));
  client.upgrade(fixture.url(), 'v4.base64.channel.k8s.io');
  await client.head();
  // The channel, line ends, groups of four.
  const payload = Buffer.alloc(most, 'A');
  payload.write('0\n\r\n', 'latin1');
  client.socket.write(clientFrame({ opcode: 1, payload }));
  client.socket.write(clientFrame({ opcode: 1, claimedLength: most + 1 }));
  const received = await client.untilEnd();
  const closeAt = received.indexOf(0x88);
  assert.equal(received.readUInt16BE(closeAt + 2), 1009);
  assert.equal(bytes, ((most - 4) / 4) * 3);
  client.socket.end();
});
