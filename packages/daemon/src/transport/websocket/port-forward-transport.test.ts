// Port-forward over WebSocket channels, through the streaming server, with real clients and with bytes.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { NORMAL_END, RawClient, type ServeForward, startServer, SUCCESS, type TestServer } from '../../streaming/test-server.ts';
import { noTurnFor } from '../../testing/stops.ts';
import type { ForwardedConnection, PortForwardTransport } from '../port-forward.ts';
import { MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import { decodeBase64Fast } from './base64-text.ts';
import { type ForwardTimes, PortForwardWebSocket } from './port-forward-transport.ts';
import { clientFrame, serverFrames } from './test-frames.ts';

const MIB = 1024 * 1024;

/** One session as a test serves it: connections by place, and why it was closed. */
class Served {
  readonly connections: ForwardedConnection[] = [];
  transport: PortForwardTransport | undefined;
  closed: string | undefined;

  data(index: number): Duplex {
    const connection = this.connections[index];
    assert.ok(connection);
    return connection.data;
  }
}

/** A server whose port-forward sessions the test serves itself; errors of data are nobody's concern. */
async function start(): Promise<{
  readonly fixture: TestServer;
  readonly served: Served;
  readonly url: (ports: readonly number[]) => string;
}> {
  const served = new Served();
  const serve: ServeForward = (_ticket, transport) => {
    served.transport = transport;
    return new Promise((resolve) => {
      transport.start({
        connection: (connection) => {
          connection.data.on('error', () => {});
          served.connections.push(connection);
        },
        closed: (reason) => {
          served.closed = reason;
          resolve();
        },
      });
    });
  };
  const fixture = await startServer(() => Promise.resolve(SUCCESS), {}, undefined, serve);
  return { fixture, served, url: (ports) => fixture.server.issue({ method: 'portforward', podId: 'p', ports }) };
}

/** A client that keeps what every channel has sent, message by message. */
class Client implements Disposable {
  readonly socket: WebSocket;
  readonly messages: { readonly channel: number; readonly bytes: Buffer }[] = [];
  closed: { readonly code: number; readonly reason: string } | undefined;
  readonly #base64: boolean;

  constructor(url: string, protocol: string | string[] | undefined) {
    this.socket = new WebSocket(url.replace('http:', 'ws:'), protocol, { perMessageDeflate: false });
    this.#base64 = String(protocol).includes('base64');
    this.socket.on('message', (data: Buffer, isBinary) => {
      assert.equal(isBinary, !this.#base64);
      assert.ok(data.length > 0);
      const channel = (data[0] as number) - (this.#base64 ? 48 : 0);
      const bytes = this.#base64 ? decodeBase64Fast(data.subarray(1)) : data.subarray(1);
      assert.ok(bytes, 'what came is base64');
      this.messages.push({ channel, bytes });
    });
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    this.socket.on('error', () => {});
  }

  static async open(url: string, protocol?: string | string[]): Promise<Client> {
    const client = new Client(url, protocol);
    await once(client.socket, 'open');
    return client;
  }

  send(channel: number, bytes: Buffer): void {
    if (this.#base64) this.socket.send(String.fromCharCode(48 + channel) + bytes.toString('base64'));
    else this.socket.send(Buffer.concat([Buffer.of(channel), bytes]));
  }

  /** Everything on a channel behind the port. */
  of(channel: number): Buffer {
    return Buffer.concat(this.messages.filter((message) => message.channel === channel).map(({ bytes }) => bytes)).subarray(2);
  }

  [Symbol.dispose](): void {
    this.socket.terminate();
  }
}

async function eventually(what: string, probe: () => boolean): Promise<void> {
  for (let i = 0; !probe(); i++) {
    assert.ok(i < 4_000, `never: ${what}`);
    await sleep(5);
  }
}

async function readAll(stream: Duplex): Promise<Buffer> {
  const got: Buffer[] = [];
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) got.push(chunk);
  return Buffer.concat(got);
}

/** A transport of one port with times of the test's own, without a server around it, and its client as a connection. */
async function bare(
  t: TestContext,
  times: Partial<ForwardTimes>,
): Promise<{ readonly client: Socket; readonly data: Duplex; readonly closed: () => string | undefined }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [[Socket], unknown];
  server.close();
  t.after(() => {
    socket.destroy();
    client.destroy();
  });
  const never = 600_000;
  const transport = new PortForwardWebSocket(
    { socket, head: Buffer.alloc(0), protocol: { name: 'v4.channel.k8s.io', encoding: 'binary' }, ports: [80] },
    {
      keepalive: { pingMs: never, unreadPongMs: 20 },
      linger: { noProgressMs: never, pollMs: 20, peerPollMs: 20, silentMs: never, peerMs: never },
      lostInputMs: never,
      quietMs: never,
      ...times,
    },
  );
  const served = new Served();
  transport.start({
    connection: (connection) => void served.connections.push(connection),
    closed: (reason) => {
      served.closed = reason;
    },
  });
  return { client, data: served.data(0), closed: () => served.closed };
}

/** Everything on a channel behind the port, of what a server has sent in binary frames and a close frame. */
function payloadOf(received: Buffer, channel: number): Buffer {
  const found: Buffer[] = [];
  for (const { opcode, payload } of serverFrames(received)) {
    if (opcode === 2 && payload[0] === channel) found.push(payload.subarray(1));
  }
  return Buffer.concat(found).subarray(2);
}

for (const protocol of [undefined, 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io']) {
  test(`${protocol ?? 'no subprotocol'}: the port first on both channels, then bytes both ways for every port`, async () => {
    const { fixture, served, url } = await start();
    await using _ = fixture;
    const ports = [80, 8080, 65_535, 80];
    using client = await Client.open(url(ports), protocol);
    assert.equal(client.socket.protocol, protocol ?? '');
    await eventually('all are connected', () => served.connections.length === 4 && client.messages.length >= 8);
    assert.deepEqual(
      served.connections.map(({ port }) => port),
      ports,
    );
    assert.deepEqual(
      client.messages.map(({ channel, bytes }) => [channel, bytes.length, bytes.readUInt16LE(0)]),
      ports.flatMap((port, i) => [
        [2 * i, 2, port],
        [2 * i + 1, 2, port],
      ]),
    );
    const up = ports.map(() => randomBytes(300_000));
    const down = ports.map(() => randomBytes(400_000));
    const got = served.connections.map(({ data }) => readAll(data));
    for (let at = 0; at < 300_000; at += 50_000) {
      for (const [i, bytes] of up.entries()) client.send(2 * i, bytes.subarray(at, at + 50_000));
      // Nobody's: error channels, channels that there are not, nothing at all.
      client.send(1, Buffer.from('x'));
      client.send(70, Buffer.from('x'));
      client.send(0, Buffer.alloc(0));
      client.socket.send(Buffer.alloc(0));
      if (protocol?.includes('base64')) client.socket.send('0not base64!');
    }
    for (const [i, bytes] of down.entries()) served.data(i).write(bytes);
    await eventually('all output has come', () => ports.every((_port, i) => client.of(2 * i).length === 400_000));
    for (const [i, bytes] of down.entries()) assert.ok(bytes.equals(client.of(2 * i)));
    client.socket.close(1000);
    for (const [i, bytes] of up.entries()) assert.ok(bytes.equals(await (got[i] as Promise<Buffer>)));
    await eventually('it is over', () => served.closed !== undefined);
    assert.equal(served.closed, 'client closed with 1000');
  });
}

test('single bytes as messages, in text frames as well, arrive in order', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80]), 'v4.channel.k8s.io');
  await eventually('it is connected', () => served.connections.length === 1);
  const got = readAll(served.data(0));
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_each, i) => i % 128));
  for (const byte of bytes) {
    if (byte % 2 === 0) client.socket.send(`\0${String.fromCharCode(byte)}`);
    else client.send(0, Buffer.of(byte));
  }
  client.socket.close();
  assert.ok(bytes.equals(await got));
});

test('what is offered: the first that is known, else 403; other requests as for attach', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80]), ['v5.channel.k8s.io', 'v4.base64.channel.k8s.io', 'v4.channel.k8s.io']);
  assert.equal(client.socket.protocol, 'v4.base64.channel.k8s.io');
  const target = url([80]);
  for (const offered of ['v5.channel.k8s.io', 'channel.k8s.io', 'toString', 'v5.channel.k8s.io, constructor']) {
    const raw = new RawClient(Number(new URL(target).port));
    raw.upgrade(target, offered);
    const answer = (await raw.untilEnd()).toString();
    assert.match(answer, /^HTTP\/1\.1 403 /, offered);
    assert.match(answer, /there are v4\.channel\.k8s\.io, v4\.base64\.channel\.k8s\.io/);
  }
  // The ticket has not been used by that.
  using second = await Client.open(target, 'v4.channel.k8s.io');
  await eventually('both are connected', () => served.connections.length === 2);
  assert.equal(second.closed, undefined);
});

test('a port that cannot be served: the reason on its error channel; when none is left, Close 1000', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80, 81]), 'v4.channel.k8s.io');
  await eventually('both are connected', () => served.connections.length === 2);
  served.connections[1]?.fail('port 81: connection refused');
  await eventually('the reason has come', () => client.of(3).length > 0);
  assert.equal(client.of(3).toString(), 'port 81: connection refused');
  assert.equal(served.data(1).destroyed, true);
  assert.equal(client.closed, undefined);
  client.send(0, Buffer.from('in'));
  const [chunk] = (await once(served.data(0), 'data')) as [Buffer];
  assert.equal(chunk.toString(), 'in');
  served.data(0).end('last');
  await eventually('it is closed', () => client.closed !== undefined);
  assert.deepEqual(client.closed, { code: 1000, reason: '' });
  assert.equal(client.of(0).toString(), 'last');
  assert.equal(client.of(1).length, 0);
  await eventually('it is over', () => served.closed !== undefined);
  assert.equal(served.closed, 'all forwarded connections have ended');
});

test('a program that resets its connection: the part of its output that came, and a close that is no proper end', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80]), 'v4.channel.k8s.io');
  await eventually('it is connected', () => served.connections.length === 1);
  served.data(0).write('a part');
  served.data(0).destroy();
  await eventually('it is closed', () => client.closed !== undefined);
  assert.deepEqual(client.closed, { code: 1011, reason: 'a program has reset its connection' });
  assert.equal(client.of(0).toString(), 'a part');
  assert.equal(client.of(1).length, 0);
});

test('a program that ends its half: all of its output, then the end of the connection once no input has come for a while', async (t) => {
  // Longer than this process may be stopped for: a client that would send meanwhile sends nothing then.
  const quietMs = 3_000;
  const { client, data, closed } = await bare(t, { quietMs });
  const got = readAll(data);
  const output = randomBytes(3 * MIB);
  data.end(output);
  let received = Buffer.alloc(0);
  client.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  let sent = 0;
  for (let waited = 0; waited < 1.2 * quietMs; waited += 300) {
    await sleep(300);
    client.write(clientFrame({ opcode: 2, payload: Buffer.concat([Buffer.of(0), Buffer.alloc(1000, sent / 1000)]) }));
    sent += 1000;
  }
  assert.equal(closed(), undefined);
  assert.equal(received.lastIndexOf(NORMAL_END), -1);
  await eventually('it is closed', () => received.subarray(-NORMAL_END.length).equals(NORMAL_END));
  client.end(clientFrame({ opcode: 8, payload: NORMAL_END.subarray(2) }));
  assert.ok(output.equals(payloadOf(received, 0)));
  assert.equal((await got).length, sent);
});

test('input that comes while the process is stopped keeps the connection of a program that has ended its half', async (t) => {
  const quietMs = 2_500;
  const { client, data, closed } = await bare(t, { quietMs });
  let bytes = 0;
  data.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  data.end('all');
  await once(client, 'data');
  client.write(clientFrame({ opcode: 2, payload: Buffer.from('\0in time') }));
  noTurnFor(quietMs + 500);
  await eventually('the input has come', () => bytes === 7);
  assert.equal(closed(), undefined);
});

test('a client that closes while its input waits: the program gets all of it, then the end', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80]), 'v4.channel.k8s.io');
  await eventually('it is connected', () => served.connections.length === 1);
  const input = randomBytes(200_000);
  client.send(0, input);
  client.socket.close(1000);
  await eventually('it is closed', () => client.closed !== undefined);
  await sleep(100);
  assert.equal(served.closed, undefined, 'not over before its input is taken');
  // Output has nobody to go to and holds up nothing.
  for (let i = 0; i < 50; i++) served.data(0).write(Buffer.alloc(100_000));
  assert.ok(input.equals(await readAll(served.data(0))));
  await eventually('it is over', () => served.closed !== undefined);
  assert.equal(served.closed, 'client closed with 1000');
  assert.equal(served.data(0).destroyed, true);
});

test('a connection that breaks, or breaks the protocol, ends its input with an abort', async () => {
  for (const breakIt of [
    (raw: RawClient) => raw.socket.resetAndDestroy(),
    // A frame without a mask.
    (raw: RawClient) => raw.socket.write(Buffer.from('820100', 'hex')),
  ]) {
    const { fixture, served, url } = await start();
    await using _ = fixture;
    const target = url([80]);
    const raw = new RawClient(Number(new URL(target).port));
    raw.upgrade(target, 'v4.channel.k8s.io');
    await eventually('it is connected', () => served.connections.length === 1);
    breakIt(raw);
    await eventually('it is over', () => served.closed !== undefined);
    assert.match(served.closed ?? '', /ECONNRESET|not masked/);
    assert.deepEqual([served.data(0).destroyed, served.data(0).readableEnded], [true, false]);
    raw.socket.destroy();
  }
});

test('input that nobody takes is bounded, costs of small messages included, and pings are answered meanwhile', async () => {
  for (const size of [1, 32 * 1024]) {
    const { fixture, served, url } = await start();
    await using _ = fixture;
    using client = await Client.open(url([80]), 'v4.channel.k8s.io');
    await eventually('it is connected', () => served.connections.length === 1);
    let pongs = 0;
    client.socket.on('pong', () => {
      pongs += 1;
    });
    const total = size === 1 ? 300_000 : 64 * MIB;
    const piece = Buffer.alloc(size, 7);
    for (let sent = 0; sent < total; sent += size) client.send(0, piece);
    const { data } = served.connections[0] as ForwardedConnection & { readonly data: Duplex & { readonly pending: number } };
    await sleep(300);
    // One read of the socket may come on top.
    assert.ok(data.pending + data.readableLength < MAX_PENDING_INPUT_BYTES + 2 * 64 * 1024 + 1024, `${data.pending} bytes wait`);
    if (size > 1) assert.ok(client.socket.bufferedAmount > 32 * MIB, 'the client is held back');
    // It comes unasked, as the ping stands behind what is not read.
    if (size > 1) await eventually('a pong', () => pongs > 0);
    client.socket.close();
    assert.equal((await readAll(data)).length, total);
  }
});

test('output that nobody takes is bounded, and all of it arrives', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80, 81]), 'v4.channel.k8s.io');
  await eventually('both are connected', () => served.connections.length === 2);
  client.socket.pause();
  let taken = 0;
  for (const { data } of served.connections) {
    for (let quiet = 0; quiet < 20; quiet++) {
      while (data.writableLength < data.writableHighWaterMark) {
        data.write(Buffer.alloc(64 * 1024, taken));
        taken += 64 * 1024;
        quiet = 0;
      }
      await sleep(5);
    }
  }
  // The kernel's buffers for one connection, and little of our own.
  assert.ok(taken < 16 * MIB, `${taken} bytes were taken`);
  client.socket.resume();
  for (const { data } of served.connections) data.end();
  await eventually('it is closed', () => client.closed !== undefined);
  assert.equal(client.of(0).length + client.of(2).length, taken);
  assert.equal(client.closed?.code, 1000);
});

test('no port, or more than there are channels: said with the close', async () => {
  for (const [count, protocol, reason] of [
    [0, 'v4.channel.k8s.io', /named no port/],
    [129, 'v4.channel.k8s.io', /room for 128 ports/],
    [41, 'v4.base64.channel.k8s.io', /room for 40 ports/],
  ] as const) {
    const { fixture, served, url } = await start();
    await using _ = fixture;
    using client = await Client.open(url(Array.from({ length: count }, (_each, i) => i + 1)), protocol);
    await eventually('it is closed', () => client.closed !== undefined);
    assert.equal(client.closed?.code, 1008);
    assert.match(client.closed?.reason ?? '', reason);
    await eventually('it is over', () => served.closed !== undefined);
    assert.equal(served.connections.length, 0);
  }
});

test('the most ports that there are: every channel has its own bytes', async () => {
  for (const [count, protocol] of [
    [128, 'v4.channel.k8s.io'],
    [40, 'v4.base64.channel.k8s.io'],
  ] as const) {
    const { fixture, served, url } = await start();
    await using _ = fixture;
    using client = await Client.open(url(Array.from({ length: count }, (_each, i) => i + 1)), protocol);
    await eventually('all are connected', () => served.connections.length === count);
    for (const { port, data } of served.connections) {
      data.once('data', (chunk: Buffer) => data.end(`${port} got ${chunk.toString()}`));
      client.send(2 * (port - 1), Buffer.from(`${port}`));
    }
    await eventually('it is closed', () => client.closed !== undefined);
    for (let port = 1; port <= count; port++) assert.equal(client.of(2 * (port - 1)).toString(), `${port} got ${port}`);
  }
});

test('finish and destroy', async () => {
  for (const [act, code] of [
    ['finish', 1000],
    ['destroy', 1006],
  ] as const) {
    const { fixture, served, url } = await start();
    await using _ = fixture;
    using client = await Client.open(url([80]), 'v4.channel.k8s.io');
    await eventually('it is connected', () => served.connections.length === 1);
    if (act === 'finish') served.connections[0]?.fail('the daemon stops');
    await served.transport?.[act]();
    await eventually('it is closed', () => client.closed !== undefined);
    if (act === 'finish') assert.equal(client.of(1).toString(), 'the daemon stops');
    assert.ok(client.closed?.code === code || client.closed?.code === 1001, `${client.closed?.code}`);
    if (act === 'finish') assert.equal(served.closed, undefined);
    else await eventually('it is over', () => served.closed !== undefined);
    assert.equal(served.data(0).destroyed, true);
    // Again is nothing.
    await served.transport?.finish();
    served.transport?.destroy();
    if (act === 'finish') await fixture.server.close(0);
  }
});

test('random messages in random pieces end nothing but their own connection', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  for (let round = 0; round < 50; round++) {
    const before = served.connections.length;
    const target = url([1, 2, 3]);
    const raw = new RawClient(Number(new URL(target).port));
    raw.upgrade(target, round % 2 === 0 ? 'v4.channel.k8s.io' : 'v4.base64.channel.k8s.io');
    await eventually('it is connected', () => served.connections.length === before + 3);
    for (const { data } of served.connections.slice(before)) data.resume();
    for (let i = 0; i < 20; i++) {
      const payload = randomBytes(i * 7);
      const frame = Buffer.concat([
        Buffer.of(i % 3 === 0 ? 0x81 : 0x82, 0xfe, payload.length >> 8, payload.length & 255),
        Buffer.alloc(4),
        payload,
      ]);
      const cut = (round * i) % frame.length;
      raw.socket.write(frame.subarray(0, cut));
      if (i % 5 === 0) await sleep(1);
      raw.socket.write(frame.subarray(cut));
    }
    if (round % 5 === 0) raw.socket.write(randomBytes(100));
    raw.socket.destroy();
  }
  await eventually('all are over', () => fixture.server.sessions === 0);
  assert.ok(served.connections.every(({ data }) => data.destroyed));
});

test('a base64 message of 2 MiB is taken, one byte more closes with 1009', async () => {
  const { fixture, served, url } = await start();
  await using _ = fixture;
  using client = await Client.open(url([80]), 'v4.base64.channel.k8s.io');
  await eventually('it is connected', () => served.connections.length === 1);
  const got = served.data(0).on('error', () => {});
  let bytes = 0;
  got.on('data', (chunk: Buffer) => void (bytes += chunk.length));
  const groups = (2 * MIB - 4) / 4;
  client.socket.send(`0\n\n\n${'AAAA'.repeat(groups)}`);
  await eventually('all of it has come', () => bytes === 3 * groups);
  client.socket.send(`0\n\n\n\n${'AAAA'.repeat(groups)}`);
  await eventually('it is closed', () => client.closed !== undefined);
  assert.deepEqual(client.closed, { code: 1009, reason: 'the message is too big' });
});

test('input that a client has left behind and nobody reads in time is cut off, which the program can tell', async (t) => {
  const { client, data, closed } = await bare(t, { lostInputMs: 100 });
  data.on('error', () => {});
  const message = clientFrame({ opcode: 2, payload: Buffer.concat([Buffer.of(0), Buffer.alloc(16_000, 'i')]) });
  // A little more than is kept here: the rest, and the end behind it, must fit into the kernel's smallest buffer.
  for (let i = 0; i < 18; i++) client.write(Buffer.from(message));
  client.end();
  await eventually('the client is given up', () => closed() !== undefined);
  assert.equal(closed(), 'client went away');
  assert.ok(data.destroyed && !data.readableEnded);
});
