// The idle time-out over real sessions of WebSocket and SPDY, and over a port-forward transport of the test's own.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex, PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import type { ForwardedConnection, PortForwardHandlers, PortForwardTransport } from '../transport/port-forward.ts';
import type { Transport } from '../transport/transport.ts';
import { SpdyClient } from '../testing/spdy-client.ts';
import { noTurnFor } from '../testing/stops.ts';
import { clientFrame } from '../transport/websocket/test-frames.ts';
import { endForwardWhenIdle, endWhenIdle } from './idle-timeout.ts';
import type { StreamingServer } from './server.ts';
import { handlers, NORMAL_END, RawClient, startServer, SUCCESS, ticketOf } from './test-server.ts';

/** Longer than a process may be stopped for. All tests run at once: most of their time they wait. */
const IDLE_MS = 4_000;
/** Between two pieces of data, so many that they come for longer than `IDLE_MS`. */
const PIECE_MS = 1_000;
const PIECES = 6;
const CHATTER_MS = 50;

type Session = AsyncDisposable & {
  readonly server: StreamingServer;
  readonly opened: Promise<Transport>;
  readonly events: string[];
};
type Stage = AsyncDisposable & { readonly client: RawClient; readonly transport: Transport; readonly events: string[] };

/** A server whose session does nothing by itself. */
async function listen(idleTimeoutMs = IDLE_MS): Promise<Session> {
  const events: string[] = [];
  const opened = Promise.withResolvers<Transport>();
  const fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) => {
        transport.start(
          handlers({
            stdin: (chunk) => events.push(`stdin ${chunk.length}`),
            resize: ({ columns }) => events.push(`size ${columns}`),
            closed: (reason) => {
              events.push(reason);
              resolve(SUCCESS);
            },
          }),
        );
        opened.resolve(transport);
      }),
    { idleTimeoutMs },
  );
  const { server } = fixture;
  return { server, opened: opened.promise, events, [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
}

/** That session and its WebSocket client. */
async function stage(idleTimeoutMs = IDLE_MS): Promise<Stage> {
  const session = await listen(idleTimeoutMs);
  const client = new RawClient(Number(new URL(session.server.base).port));
  client.upgrade(session.server.issue(ticketOf()));
  await client.head();
  return {
    client,
    transport: await session.opened,
    events: session.events,
    [Symbol.asyncDispose]: async () => {
      client.socket.destroy();
      await session[Symbol.asyncDispose]();
    },
  };
}

/** Says something every `CHATTER_MS` until the client's connection has ended. */
async function chatUntilClosed(client: SpdyClient, say: () => void): Promise<void> {
  const chatter = setInterval(say, CHATTER_MS);
  await client.closed;
  clearInterval(chatter);
  client.end();
}

/** A port-forward transport without a wire. */
class BareForward implements PortForwardTransport {
  readonly protocol = 'none';
  handlers: PortForwardHandlers | undefined;
  finished = 0;

  start(given: PortForwardHandlers): void {
    this.handlers = given;
  }

  async finish(): Promise<void> {
    this.finished += 1;
  }

  destroy(): void {
    this.handlers?.closed('ended by the server');
  }
}

/** A connection whose both ends are in the test. */
function forwarded(): { connection: ForwardedConnection; wire: { in: PassThrough; out: Buffer[] }; failed: string[] } {
  const fromClient = new PassThrough();
  const out: Buffer[] = [];
  const failed: string[] = [];
  const data = new Duplex({
    allowHalfOpen: true,
    read: () => fromClient.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      out.push(chunk);
      done();
    },
  });
  fromClient.on('data', (chunk: Buffer) => data.push(chunk) || fromClient.pause());
  fromClient.on('end', () => data.push(null));
  const connection = {
    port: 80,
    data,
    fail: (message: string) => {
      failed.push(message);
      data.end();
    },
  };
  return { connection, wire: { in: fromClient, out }, failed };
}

describe('idle time-outs', { concurrency: true }, () => {
  test('a session over which no data moves ends with a status that says so; pings, pongs and sizes are no data', async () => {
    await using it = await stage();
    const began = performance.now();
    const chatter = setInterval(() => {
      it.client.socket.write(
        Buffer.concat([
          clientFrame({ opcode: 9 }),
          clientFrame({ opcode: 10 }),
          clientFrame({ opcode: 2, payload: Buffer.from('\u0004{"Width":9,"Height":8}') }),
        ]),
      );
    }, CHATTER_MS);
    const received = (await it.client.until((bytes) => bytes.includes(NORMAL_END))).toString('latin1');
    const took = performance.now() - began;
    await it.client.untilEnd();
    clearInterval(chatter);
    assert.ok(took >= IDLE_MS - 50 && took < IDLE_MS * 5, `${took} ms`);
    assert.match(received, /"status":"Failure","message":"no data has moved for 4 s[^"]*","reason":"IdleTimeout"/);
    assert.deepEqual(it.client.received.subarray(-4), NORMAL_END);
    assert.ok(it.events.filter((event) => event === 'size 9').length > 1);
    assert.equal(it.events.at(-1), 'idle time-out');
  });

  test('SPDY: pings and sizes are no data', async () => {
    await using it = await listen();
    const began = performance.now();
    const client = await SpdyClient.connect(it.server.issue(ticketOf()));
    const { error, resize, stdout } = await client.openSession('error', 'stdin', 'stdout', 'stderr', 'resize');
    await chatUntilClosed(client, () => {
      void client.ping();
      resize.write('{"Width":9,"Height":8}');
    });
    const took = performance.now() - began;
    assert.ok(took >= IDLE_MS - 50 && took < IDLE_MS * 5, `${took} ms`);
    assert.match(error.text, /"status":"Failure","message":"no data has moved for 4 s[^"]*","reason":"IdleTimeout"/);
    assert.deepEqual([error.isEnded, stdout.isEnded], [true, true]);
    assert.ok(client.frames.filter((frame) => frame.startsWith('PING')).length > 1);
    assert.ok(it.events.filter((event) => event === 'size 9').length > 1);
    assert.equal(it.events.at(-1), 'idle time-out');
  });

  for (const tunnel of [false, true]) {
    test(`port-forward over SPDY${tunnel ? ' in a tunnel' : ''}: bytes keep it, pings do not; the client gets the reason`, async () => {
      const closed: string[] = [];
      await using fixture = await startServer(
        () => Promise.reject(new Error('not in this test')),
        { idleTimeoutMs: IDLE_MS },
        undefined,
        (_, transport) =>
          new Promise((resolve) =>
            transport.start({
              connection: ({ data }) => void data.pipe(data),
              closed: (reason) => {
                closed.push(reason);
                resolve();
              },
            }),
          ),
      );
      const client = await SpdyClient.connect(fixture.server.issue({ method: 'portforward', podId: 'p1', ports: [] }), {
        tunnel,
        protocols: [tunnel ? 'SPDY/3.1+portforward.k8s.io' : 'portforward.k8s.io'],
      });
      const { data, error } = await client.forward(80);
      for (let i = 0; i < PIECES; i += 1) {
        await sleep(PIECE_MS);
        assert.deepEqual(closed, [], `after ${i} pieces`);
        data.write('x');
      }
      const began = performance.now();
      await chatUntilClosed(client, () => void client.ping());
      const took = performance.now() - began;
      assert.ok(took >= IDLE_MS - 50 && took < IDLE_MS * 5, `${took} ms`);
      assert.deepEqual(closed, ['idle time-out']);
      assert.equal(data.text, 'x'.repeat(PIECES));
      assert.match(error.text, /^no data has moved for 4 s/);
      assert.ok(client.frames.filter((frame) => frame.startsWith('PING')).length > 1);
    });
  }

  for (const way of ['input', 'output'] as const) {
    test(`a session with ${way} only stays for as long as that moves`, async () => {
      await using it = await stage();
      for (let i = 0; i < PIECES; i += 1) {
        await sleep(PIECE_MS);
        assert.equal(it.client.ended, false, `after ${i} pieces`);
        if (way === 'output') it.transport.write('stdout', Buffer.from('x'));
        else it.client.socket.write(clientFrame({ opcode: 2, payload: Buffer.from('\0x') }));
      }
      assert.match((await it.client.untilEnd()).toString('latin1'), /IdleTimeout/);
      assert.equal(it.events.filter((event) => event === 'stdin 1').length, way === 'input' ? PIECES : 0);
    });
  }

  test('an ordinary end is none, and 0 wraps nothing', async () => {
    await using it = await stage();
    void it.transport.finish(SUCCESS);
    const received = (await it.client.untilEnd()).toString('latin1');
    await sleep(IDLE_MS * 1.5);
    assert.match(received, /Success/);
    assert.doesNotMatch(received, /IdleTimeout/);
    assert.deepEqual(it.events, []);
    assert.equal(endWhenIdle(it.transport, 0), it.transport);
  });

  test('port-forward: bytes pass untouched both ways and keep it; silence fails every connection, ends the session, destroys what is left', async () => {
    const bare = new BareForward();
    const transport = endForwardWhenIdle(bare, IDLE_MS);
    const taken: ForwardedConnection[] = [];
    const closed: string[] = [];
    transport.start({ connection: (connection) => taken.push(connection), closed: (reason) => closed.push(reason) });
    const one = forwarded();
    const two = forwarded();
    bare.handlers?.connection(one.connection);
    bare.handlers?.connection(two.connection);
    const [first] = taken;
    assert.ok(first);
    first.data.on('data', (chunk: Buffer) => first.data.write(Buffer.concat([chunk, Buffer.from('!')])));
    for (let i = 0; i < PIECES; i += 1) {
      await sleep(PIECE_MS);
      assert.deepEqual(closed, [], `after ${i} pieces`);
      one.wire.in.write(Buffer.from([i, 0, 255]));
    }
    while (bare.finished === 0) await sleep(10);
    assert.deepEqual(closed, ['idle time-out']);
    assert.equal(bare.finished, 1);
    assert.deepEqual(
      Buffer.concat(one.wire.out),
      Buffer.concat(Array.from({ length: PIECES }, (_, i) => Buffer.concat([Buffer.from([i, 0, 255]), Buffer.from('!')]))),
    );
    for (const { failed, connection } of [one, two]) {
      assert.equal(failed.length, 1);
      assert.match(failed[0] ?? '', /^no data has moved for 4 s/);
      assert.equal(connection.data.destroyed, true);
    }
  });

  test('port-forward: the halves of a connection end one by one, and a closed transport rings no more', async () => {
    const bare = new BareForward();
    const transport = endForwardWhenIdle(bare, IDLE_MS);
    const closed: string[] = [];
    const { connection, wire } = forwarded();
    transport.start({ connection: () => undefined, closed: (reason) => closed.push(reason) });
    bare.handlers?.connection(connection);
    wire.in.end('last');
    const chunks: Buffer[] = [];
    connection.data.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(connection.data, 'end');
    assert.equal(Buffer.concat(chunks).toString(), 'last');
    connection.data.write('still open');
    assert.equal(Buffer.concat(wire.out).toString(), 'still open');
    connection.data.end();
    await once(connection.data, 'close');
    transport.destroy();
    await sleep(IDLE_MS * 1.5);
    assert.deepEqual(closed, ['ended by the server']);
    assert.equal(bare.finished, 0);
  });
});

test('input that came while the process had no turn is data that has moved', async () => {
  await using it = await stage(3_000);
  it.client.socket.write(clientFrame({ opcode: 2, payload: Buffer.from('\0x') }));
  noTurnFor(3_500);
  assert.match((await it.client.untilEnd()).toString('latin1'), /IdleTimeout/);
  assert.deepEqual(it.events, ['stdin 1', 'idle time-out']);
});
