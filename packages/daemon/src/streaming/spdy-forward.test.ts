// Port-forward over SPDY, alone and in the tunnel of a WebSocket, through the whole streaming server.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { chunksOf, digest } from '../testing/noise.ts';
import { SpdyClient } from '../testing/spdy-client.ts';
import type { ForwardedConnection, PortForwardTransport } from '../transport/port-forward.ts';
import { MAX_CONNECTION_INPUT_BYTES } from '../transport/spdy/spdy-forward.ts';
import { clientFrame } from '../transport/websocket/test-frames.ts';
import { RawClient, type ServeForward, startServer, type TestServer } from './test-server.ts';

const MIB = 2 ** 20;

type Fixture = AsyncDisposable & {
  readonly test: TestServer;
  readonly closed: string[];
  readonly transports: PortForwardTransport[];
  /** Connections in the order in which they came. */
  readonly connections: ForwardedConnection[];
  readonly connect: () => Promise<SpdyClient>;
};

/** A server that does with connections what the test says, and holds sessions until their client has gone. */
async function start(tunnel: boolean, take: (connection: ForwardedConnection) => unknown = () => undefined): Promise<Fixture> {
  const closed: string[] = [];
  const transports: PortForwardTransport[] = [];
  const connections: ForwardedConnection[] = [];
  const serve: ServeForward = (_, transport) =>
    new Promise((resolve) => {
      transports.push(transport);
      transport.start({
        connection: (connection) => {
          connections.push(connection);
          take(connection);
        },
        closed: (reason) => {
          assert.ok(connections.every(({ data }) => data.destroyed));
          closed.push(reason);
          resolve();
        },
      });
    });
  const fixture = await startServer(() => Promise.reject(new Error('not in this test')), {}, undefined, serve);
  return {
    test: fixture,
    closed,
    transports,
    connections,
    connect: () =>
      SpdyClient.connect(fixture.server.issue({ method: 'portforward', podId: 'p1', ports: [] }), {
        tunnel,
        protocols: [tunnel ? 'SPDY/3.1+portforward.k8s.io' : 'portforward.k8s.io'],
      }),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
}

const echo = ({ data }: ForwardedConnection): void => void data.pipe(data);

for (const tunnel of [false, true]) {
  const how = tunnel ? 'tunnel' : 'SPDY';

  test(`${how}: connections there and back, half after half`, async () => {
    await using it = await start(tunnel, echo);
    const client = await it.connect();
    const pairs = await Promise.all([80, 65_535, 1].map((port) => client.forward(port)));
    for (const [i, { data }] of pairs.entries()) data.write(`hello ${i}`);
    for (const { data } of pairs.reverse()) data.end();
    for (const { data, error } of pairs) await Promise.all([data.ended, error.ended]);
    assert.deepEqual(
      pairs.reverse().map(({ data }) => data.text),
      ['hello 0', 'hello 1', 'hello 2'],
    );
    assert.deepEqual(
      pairs.map(({ error }) => error.bytes),
      [0, 0, 0],
    );
    assert.deepEqual(
      it.connections.map(({ port }) => port),
      [80, 65_535, 1],
    );
    assert.equal(it.transports[0]?.protocol, tunnel ? 'SPDY/3.1+portforward.k8s.io' : 'SPDY/3.1 portforward.k8s.io');
    await client.ping();
    assert.ok(
      client.frames.every((frame) => /^(SYN_REPLY|PING)/.test(frame)),
      client.frames.join(),
    );
    client.goAway();
    client.end();
    while (it.closed.length === 0) await sleep(2);
    assert.deepEqual(it.closed, [tunnel ? 'client closed with 1000' : 'client went away']);
  });

  test(`${how}: 32 MiB each way on one connection, exact, the other side slow`, async () => {
    const read = Promise.withResolvers<string>();
    await using it = await start(tunnel, async ({ data }) => {
      const hash = createHash('sha256');
      let since = 0;
      data.on('data', (chunk: Buffer) => {
        hash.update(chunk);
        since += chunk.length;
        if (since < 4 * MIB) return;
        since = 0;
        data.pause();
        setTimeout(() => data.resume(), 10);
      });
      data.once('end', () => read.resolve(hash.digest('hex')));
      for (const chunk of chunksOf(32 * MIB, 7)) if (!data.write(chunk)) await once(data, 'drain');
      data.end();
    });
    const client = await it.connect();
    const { data, error } = await client.forward(80);
    for (const chunk of chunksOf(32 * MIB, 8)) await data.writeSlowly(chunk);
    data.end();
    assert.equal(await read.promise, digest(32 * MIB, 8));
    await data.ended;
    await error.ended;
    assert.equal(data.sha256, digest(32 * MIB, 7));
    client.destroy();
  });

  test(`${how}: output is held back at the client's pace, and goes to many in turn`, async () => {
    const total = 16 * MIB;
    const all = Promise.withResolvers<void>();
    await using it = await start(tunnel, async ({ data, port }) => {
      await all.promise;
      const chunk = Buffer.alloc(32 * 1024, port);
      for (let sent = 0; sent < total; sent += chunk.length) {
        if (!data.write(chunk)) await once(data, 'drain');
        // A program's connection gives a chunk in each turn of the loop.
        await immediate();
      }
      data.end();
    });
    const client = await it.connect();
    client.onRead = () => {
      client.pause();
      setTimeout(() => client.resume(), 1);
    };
    const pairs = await Promise.all(Array.from({ length: 8 }, (_, i) => client.forward(i + 1)));
    all.resolve();
    const first = pairs[0]?.data;
    await first?.ended;
    for (const { data } of pairs) assert.ok(data.bytes > total * 0.8, `${data.bytes} when the first was done`);
    for (const [i, { data }] of pairs.entries()) {
      await data.ended;
      assert.equal(
        data.sha256,
        createHash('sha256')
          .update(Buffer.alloc(total, i + 1))
          .digest('hex'),
      );
    }
    client.destroy();
  });

  test(`${how}: why a connection is not served`, async () => {
    await using it = await start(tunnel, (connection) => {
      connection.fail('connection refused');
      connection.fail('again');
    });
    const client = await it.connect();
    const { data, error } = await client.forward(81);
    await error.ended;
    assert.equal(error.text, 'connection refused');
    assert.equal(await data.reset, 5);
    const second = await client.forward(82);
    await second.error.ended;
    assert.equal(it.closed.length, 0, 'the session goes on');
    client.destroy();
  });

  test(`${how}: resets both ways`, async () => {
    await using it = await start(tunnel);
    const client = await it.connect();
    const first = await client.forward(80);
    it.connections[0]?.data.destroy();
    assert.equal(await first.data.reset, 5);
    assert.equal(first.data.isEnded, false, 'what is cut off does not look complete');
    await first.error.ended;
    assert.equal(first.error.bytes, 0);
    const second = await client.forward(80);
    const { data } = it.connections[1] as ForwardedConnection;
    data.resume();
    const gone = once(data, 'close');
    second.data.cancel();
    await gone;
    assert.equal(data.readableEnded, false);
    client.destroy();
  });

  test(`${how}: with the client everything goes; what it had ended is still read`, async () => {
    await using it = await start(tunnel);
    const client = await it.connect();
    const open = await client.forward(80);
    const ended = await client.forward(80);
    open.data.write('cut');
    ended.data.write(Buffer.alloc(MIB, 'x'));
    ended.data.end();
    await client.ping();
    const [cut, whole] = it.connections.map(({ data }) => data);
    client.goAway();
    client.end();
    while (cut?.destroyed === false) await sleep(2);
    assert.deepEqual(it.closed, []);
    let bytes = 0;
    for await (const chunk of whole ?? []) bytes += (chunk as Buffer).length;
    assert.equal(bytes, MIB);
    while (it.closed.length === 0) await sleep(2);
  });

  test(`${how}: finish delivers what is queued, then ends everything`, async () => {
    await using it = await start(tunnel);
    const client = await it.connect();
    const { data } = await client.forward(80);
    const total = 4 * MIB;
    client.pause();
    const { data: ours } = it.connections[0] as ForwardedConnection;
    for (const chunk of chunksOf(total, 9)) ours.write(chunk);
    const finished = it.transports[0]?.finish();
    await sleep(50);
    client.resume();
    assert.equal(await client.closed, tunnel ? '1000' : 'FIN');
    assert.equal(data.bytes, total);
    assert.equal(data.sha256, digest(total, 9));
    assert.equal(data.isEnded, true);
    assert.equal(client.goneAway, 0);
    client.end();
    await finished;
    assert.deepEqual(it.closed, [], 'not said after finish');
    assert.equal(ours.destroyed, true);
  });

  test(`${how}: a program that does not read holds nobody back up to a bound, and loses nothing`, async () => {
    await using it = await start(tunnel, (connection) => {
      if (connection.port === 1) connection.data.pause();
      else echo(connection);
    });
    const client = await it.connect();
    const stuck = await client.forward(1);
    const lively = await client.forward(2);
    const roundTrip = async (): Promise<void> => {
      const before = lively.data.bytes;
      lively.data.write('x');
      while (lively.data.bytes === before) await sleep(2);
    };
    let sent = 0;
    const piece = Buffer.alloc(32 * 1024, 's');
    for (; sent < MAX_CONNECTION_INPUT_BYTES / 2; sent += piece.length) await stuck.data.writeSlowly(piece);
    for (let i = 0; i < 5; i += 1) await roundTrip();
    const total = 4 * MAX_CONNECTION_INPUT_BYTES;
    const rest = (async () => {
      for (; sent < total; sent += piece.length) await stuck.data.writeSlowly(piece);
      stuck.data.end();
    })();
    await sleep(500);
    assert.ok(sent < total, 'the client is held back');
    const held = lively.data.bytes;
    lively.data.write('y');
    await sleep(100);
    assert.equal(lively.data.bytes, held, 'and with it its other connections');
    let bytes = 0;
    for await (const chunk of it.connections[0]?.data ?? []) bytes += (chunk as Buffer).length;
    await rest;
    assert.equal(bytes, total);
    await roundTrip();
    client.destroy();
  });

  test(`${how}: a thousand connections in one session, one after the other and at once, leave nothing`, async () => {
    await using it = await start(tunnel, echo);
    const descriptors = (): number => readdirSync('/proc/self/fd').length;
    const client = await it.connect();
    const before = descriptors();
    const one = async (i: number): Promise<void> => {
      const { data, error } = await client.forward((i % 65_535) + 1);
      data.write(`number ${i}`);
      if (i % 3 === 0) data.cancel();
      else {
        data.end();
        await data.ended;
        assert.equal(data.text, `number ${i}`);
      }
      await error.ended;
    };
    for (let i = 0; i < 200; i += 1) await one(i);
    for (let i = 0; i < 800; i += 100) await Promise.all(Array.from({ length: 100 }, (_, k) => one(i + k)));
    assert.equal(it.connections.length, 1_000);
    while (!it.connections.every(({ data }) => data.destroyed)) await sleep(2);
    for (let i = 0; i < 500 && descriptors() > before + 1; i += 1) await sleep(10);
    assert.ok(descriptors() <= before + 1);
    client.destroy();
  });
}

test('the tunnel is a WebSocket: its pings, its messages however cut, its close', async () => {
  await using it = await start(true, echo);
  const raw = new RawClient(Number(new URL(it.test.server.base).port));
  const offered = 'SPDY/3.1+unknown, SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io';
  raw.upgrade(it.test.server.issue({ method: 'portforward', podId: 'p1', ports: [] }), offered);
  assert.match(await raw.head(), /\r\nSec-WebSocket-Protocol: SPDY\/3\.1\+portforward\.k8s\.io\r\n/);
  const next = async (hex: string): Promise<void> => {
    const before = raw.received.length;
    const received = await raw.until((bytes) => bytes.length >= before + hex.length / 2);
    assert.equal(received.subarray(before).toString('hex'), hex);
  };
  raw.socket.write(clientFrame({ opcode: 9, payload: Buffer.from('there?') }));
  await next('8a0674686572653f');
  // A SPDY ping in four messages, one of them empty, one text, one of two fragments.
  const parts = ['80030006', '', '000000', '04', '00000001'].map((hex) => Buffer.from(hex, 'hex'));
  for (const [i, payload] of parts.entries()) {
    raw.socket.write(clientFrame({ opcode: i === 3 ? 0 : i === 4 ? 1 : 2, payload, final: i !== 2 }));
  }
  await next('820c800300060000000400000001');
  raw.socket.write(clientFrame({ opcode: 8, payload: Buffer.of(0x03, 0xe8) }));
  await next('880203e8');
  await raw.untilEnd();
  raw.socket.end();
  while (it.closed.length === 0) await sleep(2);
  assert.deepEqual(it.closed, ['client closed with 1000']);
});

for (const [what, bytes, code, reason] of [
  ['broken SPDY in the tunnel', Buffer.from('8002000100000000', 'hex'), 1000, 'frame of version 2'],
  ['a broken WebSocket around it', undefined, 1002, 'the frame is not masked'],
] as const) {
  test(`${what} ends the session`, async () => {
    await using it = await start(true);
    const raw = new RawClient(Number(new URL(it.test.server.base).port));
    raw.upgrade(it.test.server.issue({ method: 'portforward', podId: 'p1', ports: [] }), 'SPDY/3.1+portforward.k8s.io');
    await raw.head();
    raw.socket.write(bytes === undefined ? clientFrame({ opcode: 2, masked: false }) : clientFrame({ opcode: 2, payload: bytes }));
    const received = await raw.untilEnd();
    assert.equal(received.subarray(-4).toString('hex'), `8802${code.toString(16).padStart(4, '0')}`);
    raw.socket.end();
    while (it.closed.length === 0) await sleep(2);
    assert.deepEqual(it.closed, [`client broke the protocol: ${reason}`]);
  });
}
