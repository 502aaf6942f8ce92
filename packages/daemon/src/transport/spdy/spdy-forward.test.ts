// Port-forward without a wire: how streams are paired, and what is bounded.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { collectGarbage } from '../../testing/collect-garbage.ts';
import { FakeChannel } from '../../testing/fake-channel.ts';
import { synStream, TestHeaderEncoder } from '../../testing/spdy-client.ts';
import type { ForwardedConnection } from '../port-forward.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { MAX_REQUEST_ID_BYTES } from './constants.ts';
import { FrameParser } from './frame-parser.ts';
import { dataHead, rstStream } from './frames.ts';
import { type ForwardLimits, SpdyForward } from './spdy-forward.ts';

const KIB = 1024;
const LIMITS: ForwardLimits = {
  connectionBytes: 256 * KIB,
  sessionBytes: 512 * KIB,
  maxConnections: 8,
  pairMs: 60_000,
  lostInputMs: 60_000,
};

type Under = {
  readonly channel: FakeChannel;
  readonly forward: SpdyForward;
  readonly connections: ForwardedConnection[];
  readonly closed: string[];
  /** Opens a stream; gives its id. */
  readonly open: (headers: Record<string, string>) => number;
  /** Opens a pair; gives the id of its data stream. */
  readonly pair: (port: number) => number;
  readonly sent: () => string[];
};

function make(limits: Partial<ForwardLimits> = {}): Under {
  const channel = new FakeChannel();
  channel.fresh = true;
  const forward = new SpdyForward(channel, 'test', { ...LIMITS, ...limits });
  const connections: ForwardedConnection[] = [];
  const closed: string[] = [];
  forward.start({ connection: (connection) => connections.push(connection), closed: (reason) => closed.push(reason) });
  const encoder = new TestHeaderEncoder();
  let next = 1;
  const open = (headers: Record<string, string>): number => {
    const id = next;
    next += 2;
    channel.receive(synStream(id, encoder.encode(headers)));
    return id;
  };
  return {
    channel,
    forward,
    connections,
    closed,
    open,
    pair: (port) => {
      const id = open({ streamtype: 'error', port: String(port) });
      channel.receive(dataHead(id, 0, true));
      return open({ streamtype: 'data', port: String(port) });
    },
    sent: () => frames(channel.take()),
  };
}

function frames(bytes: Buffer): string[] {
  const found: string[] = [];
  const ignore = (): void => undefined;
  const parser = new FrameParser({
    synStream: ignore,
    headers: ({ id }) => found.push(`reply ${id}`),
    rstStream: (id, status) => found.push(`reset ${id} ${status}`),
    ping: ignore,
    goAway: (_, status) => found.push(`goaway ${status}`),
    data: (id, piece) => found.push(`${id}: ${piece.length > 100 ? piece.length : piece.toString()}`),
    fin: (id) => found.push(`fin ${id}`),
    failed: ignore,
  });
  parser.push(bytes);
  return found;
}

const ports = (under: Under): number[] => under.connections.map(({ port }) => port);

test('streams are paired by their request, whichever comes first, or by their order where none is named', () => {
  const under = make();
  const { open, sent } = under;
  open({ streamtype: 'error', port: '1', requestid: '7' });
  open({ streamtype: 'data', port: '2', requestid: '8' });
  open({ streamtype: 'error', port: '2', requestid: '8' });
  open({ streamtype: 'data', port: '1', requestid: '7' });
  open({ streamtype: 'error', port: '3' });
  open({ streamtype: 'data', port: '3' });
  open({ streamtype: 'error', port: '4', requestid: '' });
  open({ streamtype: 'data', port: '4' });
  assert.deepEqual(ports(under), [2, 1, 3, 4]);
  assert.deepEqual(
    sent(),
    [1, 3, 5, 7, 9, 11, 13, 15].map((id) => `reply ${id}`),
  );
});

test('data that comes before the error stream is kept', async () => {
  const { channel, connections, open } = make();
  const id = open({ streamtype: 'data', port: '1', requestid: '1' });
  channel.receive(dataHead(id, 5), Buffer.from('early'), dataHead(id, 0, true));
  open({ streamtype: 'error', port: '1', requestid: '1' });
  let text = '';
  connections[0]?.data.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await sleep(1);
  assert.equal(text, 'early');
});

test('what makes no pair is reset', () => {
  const { open, sent, connections } = make();
  const bad: Record<string, string>[] = [
    {},
    { streamtype: 'data' },
    { streamtype: 'stdin', port: '80' },
    ...['0', '65536', '-1', '80a', '', '1e3', '0x50', '99999999999'].map((port) => ({ streamtype: 'error', port })),
  ];
  for (const headers of bad) open(headers);
  assert.deepEqual(
    sent(),
    bad.map((_, i) => `reset ${2 * i + 1} 1`),
  );
  const long = open({ streamtype: 'error', port: '80', requestid: 'x'.repeat(MAX_REQUEST_ID_BYTES + 1) });
  assert.deepEqual(sent(), [`reset ${long} 1`]);
  const longest = 'x'.repeat(MAX_REQUEST_ID_BYTES);
  const longestPair = ['error', 'data'].map((streamtype) => open({ streamtype, port: '80', requestid: longest }));
  assert.deepEqual(
    sent(),
    longestPair.map((id) => `reply ${id}`),
  );
  assert.equal(connections.length, 1);
  const first = open({ streamtype: 'error', port: '80', requestid: 'x' });
  const again = open({ streamtype: 'error', port: '80', requestid: 'x' });
  const otherPort = open({ streamtype: 'data', port: '81', requestid: 'x' });
  const good = open({ streamtype: 'data', port: '80', requestid: 'x' });
  assert.deepEqual(sent(), [`reply ${first}`, `reset ${again} 1`, `reset ${otherPort} 1`, `reply ${good}`]);
  assert.equal(connections.length, 2);
});

test('half a pair is given up after its time', async () => {
  const { open, sent, connections } = make({ pairMs: 30 });
  open({ streamtype: 'error', port: '80', requestid: '1' });
  open({ streamtype: 'data', port: '80', requestid: '2' });
  const message = 'the data stream for port 80 was not opened within 0.03 s';
  const said = sent();
  while (said.length < 6) {
    await sleep(5);
    said.push(...sent());
  }
  assert.deepEqual(said, ['reply 1', 'reply 3', `1: ${message}`, 'fin 1', 'reset 1 5', 'reset 3 5']);
  open({ streamtype: 'data', port: '80', requestid: '1' });
  assert.equal(connections.length, 0);
});

test('too many connections are refused, those that are gone make room', async () => {
  const under = make();
  for (let i = 1; i <= 8; i += 1) under.pair(i);
  under.sent();
  under.open({ streamtype: 'error', port: '9' });
  assert.deepEqual(under.sent(), ['reset 33 3']);
  under.connections[0]?.data.destroy();
  await sleep(1);
  under.sent();
  under.pair(10);
  assert.deepEqual(under.sent(), ['reply 35', 'reply 37']);
  assert.equal(under.connections.length, 9);
});

test('input that nobody reads stops the reading: of one connection, of all together', async () => {
  for (const [connections, bytesEach] of [
    [1, LIMITS.connectionBytes],
    [4, LIMITS.sessionBytes / 4],
  ] as const) {
    const under = make();
    const ids = Array.from({ length: connections }, (_, i) => under.pair(i + 1));
    const piece = Buffer.alloc(16 * KIB);
    let each = 0;
    for (; !under.channel.paused; each += piece.length) {
      for (const id of ids) under.channel.receive(dataHead(id, piece.length), piece);
    }
    // Node's own buffer comes on top.
    assert.ok(each >= bytesEach - piece.length && each <= bytesEach + 64 * KIB + 2 * piece.length, `${each} of ${bytesEach}`);
    let read = 0;
    let resumedAt = 0;
    for (const { data } of under.connections) {
      data.on('data', (chunk: Buffer) => {
        read += chunk.length;
        if (!under.channel.paused && resumedAt === 0) resumedAt = read;
      });
    }
    await sleep(5);
    assert.equal(read, each * connections);
    assert.ok(resumedAt > 0 && resumedAt <= (each * connections * 3) / 4, `read on at ${resumedAt} of ${each * connections}`);
  }
});

test('a flood of tiny pieces is bounded by what it costs', () => {
  const { channel, pair } = make();
  const id = pair(1);
  const one = Buffer.concat([dataHead(id, 1), Buffer.from('x')]);
  let frames = 0;
  for (; !channel.paused; frames += 1) channel.receive(one);
  assert.ok(frames <= LIMITS.connectionBytes / 256 + 1, `${frames} frames`);
});

test('tiny pieces come as few, none lost, though they come faster than they are read', async () => {
  const { channel, pair, connections } = make();
  const id = pair(1);
  const chunks: Buffer[] = [];
  connections[0]?.data.on('data', (chunk: Buffer) => chunks.push(chunk));
  await sleep(1);
  for (let i = 0; i < 1_000; i += 1) channel.receive(dataHead(id, 1), Buffer.of(i % 256));
  channel.receive(dataHead(id, 0, true));
  await sleep(5);
  assert.deepEqual(Buffer.concat(chunks), Buffer.from(Array.from({ length: 1_000 }, (_, i) => i % 256)));
  assert.ok(chunks.length <= 4, `${chunks.length} chunks`);
  assert.equal(connections[0]?.data.readableEnded, true);
});

test('a connection that ends gives back what it held', async () => {
  const under = make();
  const id = under.pair(1);
  while (!under.channel.paused) under.channel.receive(dataHead(id, 16 * KIB), Buffer.alloc(16 * KIB));
  under.channel.receive(rstStream(id, 5));
  await sleep(1);
  assert.equal(under.channel.paused, false);
  assert.equal(under.connections[0]?.data.destroyed, true);
});

test('however many write, no more is queued than for one', async () => {
  const under = make();
  under.channel.holds = true;
  for (let i = 1; i <= 8; i += 1) under.pair(i);
  const chunk = Buffer.alloc(64 * KIB);
  for (const { data } of under.connections) for (let i = 0; i < 4; i += 1) data.write(chunk);
  await sleep(5);
  assert.ok(under.channel.queued <= OUTBOUND_HIGH_WATER + chunk.length + KIB, `${under.channel.queued}`);
  let got = 0;
  for (let turn = 0; turn < 50; turn += 1) {
    assert.ok(under.channel.queued <= OUTBOUND_HIGH_WATER + chunk.length + KIB, `${under.channel.queued}`);
    got += under.sent().filter((frame) => frame.endsWith(`: ${chunk.length}`)).length;
    under.channel.drain();
    await sleep(1);
  }
  assert.equal(got, 32);
});

test('finish while the client takes nothing is left to the channel', async () => {
  const under = make();
  const id = under.pair(1);
  under.channel.queued = OUTBOUND_HIGH_WATER;
  const { data } = under.connections[0] as ForwardedConnection;
  data.write('queued');
  const finished = under.forward.finish();
  await sleep(5);
  assert.equal(under.channel.hurried, true);
  assert.equal(under.channel.isEnded, false);
  under.open({ streamtype: 'error', port: '80' });
  under.sent();
  under.channel.close('given up');
  await finished;
  assert.equal(data.destroyed, true);
  assert.deepEqual(under.closed, []);
  assert.equal(id, 3);
});

test('ended input of a lost client that nobody reads is given up after its time', async () => {
  const { channel, pair, connections, closed } = make({ lostInputMs: 30 });
  const id = pair(1);
  channel.receive(dataHead(id, 2, true), Buffer.from('hi'));
  channel.peerEnds();
  assert.deepEqual(closed, []);
  assert.equal(connections[0]?.data.destroyed, false);
  connections[0]?.data.write('into the void');
  await sleep(80);
  assert.deepEqual(closed, ['client went away']);
  assert.equal(connections[0]?.data.destroyed, true);
});

test('destroy ends everything and tells', async () => {
  const { channel, forward, pair, connections, closed } = make();
  pair(1);
  forward.destroy();
  await sleep(1);
  assert.equal(channel.isDestroyed, true);
  assert.equal(connections[0]?.data.destroyed, true);
  assert.deepEqual(closed, ['ended by the server']);
  await forward.finish();
});

test('input that nobody reads keeps little more than its bytes of the reads that it came with', async () => {
  const { channel, pair, connections } = make();
  const id = pair(1);
  const { data } = connections[0] as ForwardedConnection;
  // Asked for, but not read: what comes now goes to Node's buffer, piece by piece.
  data.read(0);
  const dropped = Buffer.alloc(60 * KIB);
  for (let i = 0; i < 100; i += 1) {
    channel.receive(dataHead(id, 1), Buffer.of(i), dataHead(999, dropped.length), dropped);
    await new Promise((resolve) => process.nextTick(resolve));
  }
  assert.equal(data.readableLength, 100);
  const got: Buffer[] = [];
  data.on('data', (chunk: Buffer) => got.push(chunk));
  await sleep(1);
  assert.deepEqual(Buffer.concat(got), Buffer.from(Array.from({ length: 100 }, (_, i) => i)));
  for (const { length, buffer } of got) assert.ok(buffer.byteLength <= 2 * length, `${buffer.byteLength} for ${length}`);
});

test('output of connections that the client has reset is not kept for a client that reads nothing', async () => {
  const under = make();
  under.channel.queued = OUTBOUND_HIGH_WATER;
  const chunks: WeakRef<ArrayBuffer>[] = [];
  for (let i = 0; i < 200; i += 1) {
    const id = under.pair(80);
    const chunk = new ArrayBuffer(64 * KIB);
    under.connections[0]?.data.write(Buffer.from(chunk));
    chunks.push(new WeakRef(chunk));
    under.channel.receive(rstStream(id, 5));
    under.connections.length = 0;
    // The connection is closed a turn later; what a WeakRef has shown lives to the end of the turn as well.
    await immediate();
  }
  collectGarbage();
  assert.ok(chunks.filter((chunk) => chunk.deref() !== undefined).length < 10);
  const id = under.pair(81);
  under.connections[0]?.data.write('next');
  under.sent();
  under.channel.drain();
  assert.deepEqual(under.sent(), [`${id}: next`]);
});
