// A connection without a wire: what it answers, what it refuses, what it bounds, how it ends.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { FakeChannel } from '../../testing/fake-channel.ts';
import { synStream, TestHeaderEncoder } from '../../testing/spdy-client.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { SpdyConnection } from './connection.ts';
import { MAX_LATE_PINGS, MAX_MORE_HEADERS, MAX_QUEUED_ANSWERS_BYTES, STREAMS_PER_TURN, UNREAD_SIGN_ID } from './constants.ts';
import { controlFrame, dataHead, goAway, ping, rstStream, synReply } from './frames.ts';
import { HeaderEncoder } from './header-encoder.ts';
import type { SpdyStream } from './stream.ts';

type Under = {
  readonly channel: FakeChannel;
  readonly connection: SpdyConnection;
  readonly events: string[];
  readonly streams: SpdyStream[];
  readonly open: (id: number, flags?: number) => void;
  /** The next SYN_REPLY as it must be. */
  readonly reply: (id: number) => Buffer;
};

function make(options: { maxStreams?: number; unreadSignMs?: number; lostInputMs?: number; accept?: boolean } = {}): Under {
  const channel = new FakeChannel();
  const events: string[] = [];
  const streams: SpdyStream[] = [];
  const connection = new SpdyConnection(
    channel,
    { maxStreams: 4, ...options },
    {
      stream: (stream) => {
        streams.push(stream);
        if (options.accept === false) return stream.reset(3);
        const say = (what: string) => () => void events.push(`${stream.id} ${what}`);
        stream.accept({
          data: (piece) => events.push(`${stream.id} ${Buffer.from(piece).toString()}`),
          end: say('end'),
          reset: say('reset'),
        });
      },
      flush: () => events.push('flush'),
      drain: () => events.push('drain'),
      lost: (reason) => events.push(`lost: ${reason}`),
      closed: () => events.push('closed'),
    },
  );
  connection.start();
  const client = new TestHeaderEncoder();
  const server = new HeaderEncoder();
  return {
    channel,
    connection,
    events,
    streams,
    open: (id, flags = 0) => channel.receive(synStream(id, client.encode({ streamtype: 'x' }), flags)),
    reply: (id) => synReply(id, server.encode([])),
  };
}

test('nothing is sent before the client says something, and streams are answered at once', () => {
  const { channel, events, open, reply } = make();
  assert.equal(channel.take().length, 0);
  open(1);
  assert.deepEqual(channel.take(), reply(1));
  open(3);
  assert.deepEqual(channel.take(), reply(3));
  channel.receive(dataHead(1, 2), Buffer.from('ab'), dataHead(3, 1, true), Buffer.from('c'));
  assert.deepEqual(events, ['flush', 'flush', '1 ab', '3 c', '3 end', 'flush']);
});

test('a stream keeps nothing of its headers once it has been accepted', () => {
  const { streams, open } = make();
  const { streams: refused, open: openRefused } = make({ accept: false });
  open(1);
  openRefused(1);
  assert.deepEqual([streams[0]?.headers.size, refused[0]?.headers.get('streamtype')], [0, 'x']);
});

test('a stream is gone when both halves have ended, in any order, or one has reset it', () => {
  const { channel, connection, events, streams, open } = make();
  for (const id of [1, 3, 5, 7]) open(id);
  channel.take();
  const [first, second, third, fourth] = streams;
  first?.end(Buffer.from('bye'));
  assert.equal(connection.streams, 4);
  channel.receive(dataHead(1, 0, true));
  assert.equal(connection.streams, 3);
  channel.receive(dataHead(3, 0, true));
  second?.end();
  assert.equal(connection.streams, 2);
  channel.receive(rstStream(5, 5));
  assert.equal(connection.streams, 1);
  third?.write(Buffer.from('into the void'));
  third?.reset();
  fourth?.reset();
  assert.equal(connection.streams, 0);
  // What is on its way for a stream that is gone is nobody's.
  channel.receive(dataHead(7, 1, true), Buffer.from('x'), rstStream(7, 5), dataHead(99, 0, true));
  assert.deepEqual(
    channel.take(),
    Buffer.concat([dataHead(1, 3, true), Buffer.from('bye'), dataHead(3, 0, true), rstStream(7, 5)]),
  );
  assert.deepEqual(
    events.filter((event) => event !== 'flush'),
    ['1 end', '3 end', '5 reset'],
  );
});

test('flags of SYN_STREAM end halves from the start', () => {
  const { channel, connection, events, streams, open, reply } = make();
  open(1, 1);
  open(3, 2);
  open(5, 3);
  assert.deepEqual(channel.take(), Buffer.concat([reply(1), reply(3), reply(5)]));
  streams[1]?.write(Buffer.from('x'));
  assert.equal(channel.take().length, 0, 'our half of a one-way stream has ended');
  assert.equal(connection.streams, 2);
  assert.deepEqual(
    events.filter((event) => event !== 'flush'),
    ['1 end', '5 end'],
  );
});

test('data of more than 64 KiB goes in several frames', () => {
  const { channel, streams, open } = make();
  open(1);
  channel.take();
  const chunk = Buffer.alloc(150_000, 'x');
  streams[0]?.write(chunk);
  const [full, rest] = [65_536, 150_000 - 2 * 65_536];
  const expected = [full, full, rest].flatMap((length) => [dataHead(1, length), chunk.subarray(0, length)]);
  assert.deepEqual(channel.take(), Buffer.concat(expected));
});

test('too many streams are refused, those that have gone make room', () => {
  const { channel, connection, open, streams, reply } = make({ maxStreams: 2 });
  for (const id of [1, 3, 5]) open(id);
  assert.deepEqual(channel.take(), Buffer.concat([reply(1), reply(3), rstStream(5, 3)]));
  streams[0]?.reset();
  open(7);
  assert.deepEqual(channel.take(), Buffer.concat([rstStream(1, 5), reply(7)]));
  assert.equal(connection.streams, 2);
});

test('after its GOAWAY a client opens no streams, but those that are open go on', () => {
  const { channel, events, streams, open } = make();
  open(1);
  channel.receive(goAway(0, 0));
  channel.take();
  open(3);
  assert.deepEqual(channel.take(), rstStream(3, 3));
  streams[0]?.write(Buffer.from('x'));
  assert.equal(channel.take().length, 9);
  channel.receive(dataHead(1, 1), Buffer.from('y'));
  assert.ok(events.includes('1 y'));
});

test('odd pings are answered, even ones are not', () => {
  const { channel } = make();
  channel.receive(ping(1), ping(2), ping(0x7fff_ffff), ping(0));
  assert.deepEqual(channel.take(), Buffer.concat([ping(1), ping(0x7fff_ffff)]));
});

test('pings that come while much is queued are answered behind it, so many and no more', () => {
  const { channel } = make();
  channel.queued = OUTBOUND_HIGH_WATER;
  for (let i = 0; i < 1_000; i += 1) channel.receive(ping(2 * i + 1));
  assert.equal(channel.take().length, 0);
  channel.drain();
  assert.deepEqual(channel.take(), Buffer.concat(Array.from({ length: MAX_LATE_PINGS }, (_, i) => ping(2 * i + 1))));
});

test('a client that reads no answers is let go', async () => {
  const { channel, events, open } = make({ accept: false });
  channel.holds = true;
  let id = 1;
  for (; !channel.isEnded && id < 60_000; id += 2) {
    open(id);
    if (id % 100 === 99) await immediate();
  }
  assert.ok(channel.queued <= MAX_QUEUED_ANSWERS_BYTES + 64, `${channel.queued} bytes are queued`);
  assert.match(events.at(-1) ?? '', /lost: client broke the protocol: it reads none of the answers/);
});

test('one that reads them may ask for ever', async () => {
  const { channel, events, streams, open } = make({ accept: false });
  for (let id = 1; id < 40_000; id += 2) {
    open(id);
    if (id % 100 === 99) await immediate();
  }
  assert.equal(streams.length, 20_000);
  assert.equal(channel.isEnded, false);
  assert.ok(events.every((event) => event === 'flush'));
});

test('what breaks the protocol ends the connection with a GOAWAY that says so', () => {
  const cases: readonly [string, (under: Under) => void, RegExp][] = [
    ['an even id', ({ open }) => open(2), /must be odd/],
    ['an id again', ({ open }) => [1, 1].map((id) => open(id)), /must be odd and grow/],
    ['a lower id', ({ open }) => [5, 3].map((id) => open(id)), /must be odd and grow/],
    ['id 0', ({ open }) => open(0), /must be odd/],
    ['damaged headers', ({ channel }) => channel.receive(synStream(1, Buffer.from('garbage'))), /zlib/],
    ['damaged headers of a reply', ({ channel }) => channel.receive(controlFrame(2, 0, [1], Buffer.from('garbage'))), /zlib/],
    ['another version', ({ channel }) => channel.receive(Buffer.from('8002000600000004', 'hex')), /version/],
  ];
  for (const [name, act, reason] of cases) {
    const under = make();
    act(under);
    assert.equal(under.channel.isEnded, true, name);
    assert.equal(under.channel.take().subarray(-4).readUInt32BE(), 1, name);
    const told = under.events.filter((event) => event !== 'flush');
    assert.match(told.join(), reason, name);
    under.channel.receive(ping(1), synStream(9, Buffer.alloc(0)));
    under.channel.close();
    assert.deepEqual(under.events.filter((event) => event !== 'flush').slice(told.length), ['closed'], name);
  }
});

test('graceful: GOAWAY with the last stream, then nothing is heard', () => {
  const { channel, connection, events, open } = make();
  open(1);
  open(3);
  channel.take();
  events.length = 0;
  connection.end();
  connection.end();
  assert.deepEqual(channel.take(), goAway(3, 0));
  assert.equal(channel.isEnded, true);
  channel.receive(dataHead(1, 1), Buffer.from('x'), ping(1));
  channel.peerEnds();
  assert.deepEqual(events, []);
  channel.close();
  assert.deepEqual(events, ['closed']);
});

for (const [how, act, reason] of [
  ['ends', (under: Under) => under.channel.peerEnds(), 'client went away'],
  ['is lost', (under: Under) => under.channel.close(), 'connection lost: ECONNRESET'],
] as const) {
  test(`a client that ${how} is lost once`, () => {
    const under = make();
    under.open(1);
    under.events.length = 0;
    act(under);
    under.channel.close();
    under.channel.close();
    assert.deepEqual(under.events, [`lost: ${reason}`, 'closed']);
    assert.equal(under.connection.streams, 0);
  });
}

test('while it does not read, it gives signs of life that no client answers', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { channel, connection } = make({ unreadSignMs: 20 });
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 10) {
      t.mock.timers.tick(10);
      await immediate();
    }
  };
  await pass(70);
  assert.equal(channel.take().length, 0, 'none while it reads');
  connection.pause();
  connection.pause();
  assert.equal(channel.paused, true);
  await pass(110);
  assert.deepEqual(channel.take(), Buffer.concat(Array.from({ length: 5 }, () => ping(UNREAD_SIGN_ID))));
  channel.queued = OUTBOUND_HIGH_WATER;
  await pass(50);
  assert.equal(channel.take().length, 0, 'none behind much output');
  channel.queued = 0;
  connection.resume();
  assert.equal(channel.paused, false);
  await pass(50);
  assert.equal(channel.take().length, 0);
  connection.pause();
  connection.end();
  channel.take();
  await pass(50);
  assert.equal(channel.take().length, 0);
});

test('headers for streams that are open end the connection before they cost much', () => {
  const { channel, events } = make();
  const client = new TestHeaderEncoder();
  const more = (type: number): Buffer => controlFrame(type, 0, [1], client.encode({ a: 'b' }));
  channel.receive(synStream(1, client.encode({ streamtype: 'x' })));
  for (let i = 0; i < MAX_MORE_HEADERS; i += 1) channel.receive(more(i % 2 === 0 ? 8 : 2));
  assert.equal(channel.isEnded, false);
  channel.receive(more(8));
  assert.equal(channel.isEnded, true);
  assert.match(events.at(-1) ?? '', /it sends headers for streams that are open/);
});

/** So many streams, each with one byte behind it, as one read. */
function manyStreams(count: number): { readonly read: Buffer; readonly events: string[] } {
  const client = new TestHeaderEncoder();
  const ids = Array.from({ length: count }, (_, i) => 2 * i + 1);
  const frames = ids.flatMap((id) => [synStream(id, client.encode({ streamtype: 'x' })), dataHead(id, 1), Buffer.from('d')]);
  return { read: Buffer.concat(frames), events: ids.map((id) => `${id} d`) };
}

for (const [how, split] of [
  ['in one read', false],
  ['frame by frame, as a tunnel brings them', true],
] as const) {
  test(`streams that are opened ${how} are taken some at a time, in order, and nothing is read meanwhile`, async () => {
    const count = 3 * STREAMS_PER_TURN + 1;
    const { channel, connection, events, streams } = make({ maxStreams: count });
    const { read, events: expected } = manyStreams(count);
    const sent = Buffer.concat([read, dataHead(1, 4), Buffer.from('more')]);
    const most = split ? 10 : sent.length;
    for (let at = 0; at < sent.length; at += most) channel.receive(sent.subarray(at, at + most));
    for (let turn = 1; turn <= 3; turn += 1) {
      assert.equal(streams.length, turn * STREAMS_PER_TURN);
      assert.equal(channel.paused, true);
      // The owner's own pauses do not begin the reading again.
      connection.pause();
      connection.resume();
      assert.equal(channel.paused, true);
      await immediate();
    }
    assert.equal(streams.length, count);
    assert.equal(channel.paused, false);
    assert.deepEqual(
      events.filter((event) => event !== 'flush'),
      [...expected, '1 more'],
    );
  });
}

test('what is read in the turn in which no stream may be opened any more waits as it came', async () => {
  const { channel, events } = make({ maxStreams: STREAMS_PER_TURN });
  const { read, events: expected } = manyStreams(STREAMS_PER_TURN);
  // Data of one byte behind its header is the last of it.
  const last = read.length - dataHead(1, 1).length - 1;
  channel.receive(read.subarray(0, last));
  channel.receive(read.subarray(last));
  await immediate();
  assert.deepEqual(
    events.filter((event) => event !== 'flush'),
    expected,
  );
});

test('what waits for its turn comes before the end of its client', () => {
  const count = 5 * STREAMS_PER_TURN;
  const { channel, events } = make({ maxStreams: count });
  const { read, events: expected } = manyStreams(count);
  channel.receive(read);
  channel.peerEnds();
  assert.deepEqual(
    events.filter((event) => event !== 'flush'),
    [...expected, 'lost: client went away'],
  );
});

test('what waits for its turn is dropped where the connection has been ended', async () => {
  const count = 5 * STREAMS_PER_TURN;
  const { channel, connection, streams } = make({ maxStreams: count });
  channel.receive(manyStreams(count).read);
  connection.end();
  await immediate();
  assert.equal(streams.length, STREAMS_PER_TURN);
  assert.equal(channel.isEnded, true);
});

test('a client whose end waits unread is told nothing; read to its end in time it has ended, else it is given up', async () => {
  const read = make({ unreadSignMs: 10, lostInputMs: 60_000 });
  read.channel.hasUnreadEnd = true;
  read.connection.pause();
  await sleep(60);
  assert.equal(read.channel.take().length, 0);
  read.connection.resume();
  assert.equal(read.channel.paused, false);
  read.channel.peerEnds();
  assert.deepEqual(read.events, ['lost: client went away']);

  const unread = make({ unreadSignMs: 10, lostInputMs: 30 });
  unread.channel.hasUnreadEnd = true;
  unread.connection.pause();
  assert.deepEqual(unread.events, []);
  while (unread.events.length === 0) await sleep(1);
  assert.deepEqual(unread.events, ['lost: client went away']);
  assert.equal(unread.channel.isEnded, true);
});
