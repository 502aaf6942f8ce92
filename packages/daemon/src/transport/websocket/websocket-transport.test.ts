// The waiting times of a WebSocket connection, shortened: keepalive, linger, input of a client that is gone.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { SUBPROTOCOLS } from '@berth/attach-protocol';
import type { TransportHandlers } from '../transport.ts';
import { sharedReads } from '../client-reads.ts';
import { clientFrame } from './test-frames.ts';
import { type TransportTimes, WebSocketTransport } from './websocket-transport.ts';

const LONG_MS = 60_000;
const LINGER = { noProgressMs: LONG_MS, pollMs: 20, peerPollMs: 20, silentMs: 20, peerMs: LONG_MS };
const TIMES: TransportTimes = {
  keepalive: { pingMs: LONG_MS, unreadPongMs: LONG_MS },
  linger: LINGER,
  lostInputMs: LONG_MS,
};
const PING = Buffer.of(0x89, 0);
const PONG = Buffer.of(0x8a, 0);
const FIRST_MESSAGE = Buffer.of(0x82, 1, 1);
const CLOSE = Buffer.of(0x88, 2, 0x03, 0xe8);
const LAST_PING = Buffer.from([0x89, 5, ...Buffer.from('over?')]);
const SUCCESS = { status: 'Success' } as const;

type Pair = {
  readonly transport: WebSocketTransport;
  readonly socket: Socket;
  readonly client: Socket;
  readonly events: string[];
  readonly received: () => Buffer;
};

/** Both ends of a connection, the server's as a transport that has been started. */
async function pair(
  times: Partial<TransportTimes> = {},
  more: Partial<TransportHandlers> = {},
  { tty = true, start = true } = {},
): Promise<Pair> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => undefined);
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [[Socket], unknown];
  server.close();
  let received = Buffer.alloc(0);
  client.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
  });
  const transport = new WebSocketTransport(
    {
      reads: sharedReads(socket, Buffer.alloc(0)),
      protocol: SUBPROTOCOLS['v5.channel.k8s.io'],
      streams: { stdin: true, stdout: true, stderr: false, tty },
    },
    { ...TIMES, ...times },
  );
  const events: string[] = [];
  const given: TransportHandlers = {
    stdin: (chunk) => events.push(`stdin ${chunk.length}`),
    stdinEof: () => events.push('eof'),
    resize: ({ columns, rows }) => events.push(`${columns}x${rows}`),
    drain: () => events.push('drain'),
    closed: (reason) => events.push(reason),
    ...more,
  };
  if (start) transport.start(given);
  return { transport, socket, client, events, received: () => received };
}

const stdin = (length: number): Buffer => clientFrame({ opcode: 2, payload: Buffer.alloc(length + 1) });

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5);
}

test('a silent client is pinged, and not again before it says something', async () => {
  const { transport, client, received } = await pair({ keepalive: { pingMs: 30, unreadPongMs: LONG_MS } });
  await until(() => received().length >= FIRST_MESSAGE.length + PING.length);
  await sleep(300);
  assert.deepEqual(received(), Buffer.concat([FIRST_MESSAGE, PING]), 'one ping in ten intervals');
  client.write(clientFrame({ opcode: 10 }));
  await until(() => received().length > FIRST_MESSAGE.length + PING.length);
  await sleep(200);
  assert.deepEqual(received(), Buffer.concat([FIRST_MESSAGE, PING, PING]));
  transport.destroy();
});

test('a client that may send much input is asked for nothing: pongs instead of pings, between its output too', async () => {
  const { transport, client, received } = await pair({ keepalive: { pingMs: 30, unreadPongMs: LONG_MS } }, {}, { tty: false });
  await until(() => received().length >= FIRST_MESSAGE.length + 3 * PONG.length);
  assert.deepEqual(
    received().subarray(0, FIRST_MESSAGE.length + 3 * PONG.length),
    Buffer.concat([FIRST_MESSAGE, PONG, PONG, PONG]),
  );
  transport.destroy();
  client.destroy();

  const quiet = await pair({}, {}, { tty: false });
  const chunk = Buffer.alloc(64 * 1024);
  for (let i = 0; i < 5; i += 1) quiet.transport.write('stdout', chunk);
  const head = Buffer.of(0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1, 1);
  const message = Buffer.concat([head, chunk]);
  const two = Buffer.concat([message, message, PONG]);
  const expected = Buffer.concat([FIRST_MESSAGE, two, two, message]);
  await until(() => quiet.received().length >= expected.length);
  assert.ok(quiet.received().equals(expected));
  quiet.transport.destroy();
});

test('while the socket is not read, pongs go out by themselves; then no more', async () => {
  const { transport, client, events, received } = await pair({ keepalive: { pingMs: LONG_MS, unreadPongMs: 40 } });
  transport.pauseInput();
  client.write(stdin(300 * 1024));
  await until(() => received().length >= FIRST_MESSAGE.length + 3 * PONG.length);
  assert.deepEqual(received().subarray(0, 9), Buffer.concat([FIRST_MESSAGE, PONG, PONG, PONG]));
  assert.deepEqual(events, []);
  transport.resumeInput();
  await until(() => events.length > 0);
  // Its answer comes behind the last of them.
  client.write(clientFrame({ opcode: 9, payload: Buffer.from('last?') }));
  await until(() => received().includes('last?'));
  const { length } = received();
  await sleep(200);
  assert.equal(received().length, length);
  transport.destroy();
});

test('sizes pass input that waits', async () => {
  const { transport, client, events } = await pair();
  transport.pauseInput();
  client.write(Buffer.concat([stdin(10), clientFrame({ opcode: 2, payload: Buffer.from('\u0004{"Width":9,"Height":8}') })]));
  await until(() => events.length > 0);
  assert.deepEqual(events, ['9x8']);
  transport.resumeInput();
  assert.deepEqual(events, ['9x8', 'stdin 10']);
  transport.destroy();
});

test('sizes do not pass input that need not wait', async () => {
  const { transport, client, events } = await pair();
  const size = clientFrame({ opcode: 2, payload: Buffer.from('\u0004{"Width":9,"Height":8}') });
  client.write(Buffer.concat([stdin(1), stdin(2), size, stdin(3)]));
  await until(() => events.length === 3);
  assert.deepEqual(events, ['stdin 3', '9x8', 'stdin 3']);
  transport.destroy();
});

for (const [how, leave] of [
  ['closes', (client: Socket) => client.end(clientFrame({ opcode: 8, payload: Buffer.of(3, 0xe8) }))],
  ['only ends', (client: Socket) => client.end()],
] as const) {
  test(`the loss of a client that ${how} is told after its input, however late that is taken`, async () => {
    const { transport, client, events } = await pair();
    transport.pauseInput();
    client.write(stdin(100_000));
    leave(client);
    await once(client, 'close');
    await sleep(50);
    assert.equal(events.length, 0);
    transport.resumeInput();
    const reason = events.pop();
    assert.equal(
      events.reduce((sum, event) => sum + Number(event.split(' ')[1]), 0),
      100_000,
    );
    assert.match(reason ?? '', /^client (closed with 1000|went away)$/);
  });
}

test('all input of a client that has left while the socket was not read is there, with its end', async () => {
  // Two signs of life: the first would be answered with a reset, the second would fail. What the kernel says is a second old at most.
  const { transport, socket, client, events, received } = await pair({ keepalive: { pingMs: LONG_MS, unreadPongMs: 5_000 } });
  transport.pauseInput();
  await until(() => received().length > 0);
  // Until some of it waits in the kernel. More than one piece might not fit there: the end would wait in the client's.
  const piece = stdin(16 * 1024);
  let pieces = 0;
  for (; socket.bytesRead >= pieces * piece.length; pieces += 1) {
    client.write(piece);
    for (let turn = 0; turn < 2; turn += 1) await sleep(10);
  }
  client.end(clientFrame({ opcode: 8, payload: Buffer.of(3, 0xe8) }));
  await once(client, 'finish');
  client.destroy();
  await sleep(11_000);
  assert.ok(socket.bytesRead < pieces * piece.length);
  assert.deepEqual([events, received()], [[], FIRST_MESSAGE]);
  assert.equal(transport.write('stdout', Buffer.alloc(1_000_000)), true, 'it takes nothing any more, and holds nothing back');
  await sleep(50);
  transport.resumeInput();
  await until(() => events.at(-1)?.startsWith('stdin') === false);
  assert.equal(events.pop(), 'client closed with 1000');
  assert.equal(
    events.reduce((sum, event) => sum + Number(event.split(' ')[1]), 0),
    pieces * 16 * 1024,
  );
});

test('a client that has left is given up when nobody reads its input in time', async () => {
  const { transport, client, events } = await pair({ keepalive: { pingMs: LONG_MS, unreadPongMs: 1_500 }, lostInputMs: 50 });
  transport.pauseInput();
  client.write(stdin(300 * 1024));
  client.end();
  await until(() => events.length > 0);
  assert.deepEqual(events, ['client went away']);
});

test('input of a lost client that nobody takes is given up after its time', async () => {
  const { transport, client, events } = await pair({ lostInputMs: 3_000 });
  transport.pauseInput();
  client.write(stdin(1_000));
  client.end();
  await once(client, 'close');
  assert.deepEqual(events, []);
  await until(() => events.length > 0);
  assert.deepEqual(events, ['client went away']);
});

test('a reset is told as a loss', async () => {
  const { client, events } = await pair();
  client.resetAndDestroy();
  await until(() => events.length > 0);
  assert.deepEqual(events, ['connection lost: ECONNRESET']);
});

test('after finish nothing is told, input is thrown away, output is not sent', async () => {
  const { transport, client, events, received } = await pair();
  const finished = transport.finish(SUCCESS);
  assert.equal(transport.finish({ status: 'Failure', reason: 'x', message: 'x', code: 1 }), finished, 'idempotent');
  assert.equal(transport.write('stdout', Buffer.from('late')), true);
  client.write(stdin(100_000));
  await once(client, 'end');
  const status = '{"metadata":{},"status":"Success"}';
  const expected = [FIRST_MESSAGE, Buffer.of(0x82, status.length + 1, 3), Buffer.from(status), LAST_PING, CLOSE];
  assert.deepEqual(received(), Buffer.concat(expected));
  client.end();
  await finished;
  assert.deepEqual(events, []);
});

test('after the last byte the client ends the connection first; only one that answers pings alone, or nothing, gets our FIN', async () => {
  const chunk = Buffer.alloc(20_000);
  const pong = (payload: string | Uint8Array): Buffer => clientFrame({ opcode: 10, payload: Buffer.from(payload) });
  /** A session of enough output for a mark, which its client has answered, ends. */
  const begin = async (): Promise<Pair & { readonly finished: Promise<void> }> => {
    const it = await pair();
    it.transport.write('stdout', chunk);
    await until(() => it.received().includes(Buffer.of(0x89, 4)));
    const mark = it.received().indexOf(Buffer.of(0x89, 4)) + 2;
    await until(() => it.received().length >= mark + 4);
    it.client.write(pong(it.received().subarray(mark, mark + 4)));
    // The answer to this one says that the mark's has been read.
    it.client.write(clientFrame({ opcode: 9, payload: Buffer.from('here?') }));
    await until(() => it.received().includes('here?'));
    const finished = it.transport.finish(SUCCESS);
    await until(() => it.received().includes(CLOSE));
    return { ...it, finished };
  };

  const answers = await begin();
  const sent = answers.received().length;
  answers.client.write(clientFrame({ opcode: 9 }));
  await sleep(200);
  assert.equal(answers.client.readableEnded, false);
  assert.equal(answers.received().length, sent, 'nothing comes behind a close frame');
  answers.client.write(clientFrame({ opcode: 8, payload: Buffer.of(0x03, 0xe8) }));
  await answers.finished;
  await once(answers.client, 'close');

  const half = await begin();
  await sleep(200);
  assert.equal(half.client.readableEnded, false, 'what it has not answered it may not have read');
  half.client.write(pong('over?'));
  await once(half.client, 'end');
  half.client.end();

  const mute = await pair();
  void mute.transport.finish(SUCCESS);
  await once(mute.client, 'end');
  mute.client.end();
});

test('a ping that waits for its answer behind much output gets none behind the close frame', async () => {
  const late = await pair({}, {}, { tty: false });
  late.client.pause();
  // Also what no kernel takes.
  for (let i = 0; i < 400; i += 1) late.transport.write('stdout', Buffer.alloc(64 * 1024));
  late.client.write(clientFrame({ opcode: 9, payload: Buffer.from('late?') }));
  await sleep(50);
  const over = late.transport.finish(SUCCESS);
  late.client.resume();
  await until(() => late.received().subarray(-CLOSE.length).equals(CLOSE));
  await sleep(100);
  assert.ok(late.received().subarray(-CLOSE.length).equals(CLOSE), 'nothing comes behind a close frame');
  late.client.write(clientFrame({ opcode: 8, payload: Buffer.of(0x03, 0xe8) }));
  await over;
});

test('a session that ends before it has begun reads no answer, and sends its FIN at once', async () => {
  const early = await pair({ linger: { ...LINGER, silentMs: LONG_MS } }, {}, { start: false });
  const gone = early.transport.finish(SUCCESS);
  await once(early.client, 'end');
  assert.ok(early.received().subarray(-CLOSE.length).equals(CLOSE));
  early.client.end();
  await gone;
});

test('a client that takes nothing after the end is given up; one that takes slowly is not', async () => {
  const chunk = Buffer.alloc(64 * 1024);
  const stuck = await pair({ linger: { ...LINGER, noProgressMs: 400 } });
  stuck.client.pause();
  while (stuck.transport.write('stdout', chunk));
  const began = performance.now();
  await stuck.transport.finish(SUCCESS);
  assert.ok(performance.now() - began >= 400);
  stuck.client.destroy();

  const slow = await pair({ linger: { ...LINGER, noProgressMs: 3_000 } });
  slow.client.removeAllListeners('data');
  slow.client.pause();
  // The mark of the pace, and more than a session would write before it waits.
  let sent = FIRST_MESSAGE.length + 6;
  for (let i = 0; i < 64; i += 1) {
    slow.transport.write('stdout', chunk);
    sent += chunk.length + 11;
  }
  const finished = slow.transport.finish(SUCCESS).then(() => performance.now());
  let got = 0;
  slow.client.on('data', (part: Buffer) => {
    got += part.length;
    slow.client.pause();
    setTimeout(() => slow.client.resume(), part.length / 512);
  });
  const start = performance.now();
  slow.client.resume();
  await once(slow.client, 'end');
  assert.ok(performance.now() - start > 6_000, 'it took longer than a client may take nothing');
  assert.equal(got, sent + 2 + 1 + '{"metadata":{},"status":"Success"}'.length + LAST_PING.length + 4);
  slow.client.end();
  await finished;
});

test('destroy ends at once with close 1001 and tells the session', async () => {
  const { transport, client, events, received } = await pair();
  transport.pauseInput();
  client.write(stdin(1_000));
  await sleep(50);
  transport.destroy();
  await once(client, 'close');
  assert.deepEqual(received(), Buffer.concat([FIRST_MESSAGE, Buffer.of(0x88, 2, 0x03, 0xe9)]));
  assert.deepEqual(events, ['ended by the server']);
});
