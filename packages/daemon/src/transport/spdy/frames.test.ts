// Vectors: what Go's spdystream 0.5.1 sends, what we send, bytes cut anywhere, and what is refused.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { MAX_CONTROL_FRAME_BYTES } from './constants.ts';
import { FrameParser } from './frame-parser.ts';
import { controlFrame, dataHead, goAway, ping, rstStream, synReply } from './frames.ts';
import { HeaderDecoder } from './header-decoder.ts';

const bytes = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** In the order in which one connection sent them. */
const FROM_GO: readonly [frame: string, events: string[]][] = [
  [
    '80030001 00000029 00000001 00000000 0000 78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff',
    ['SYN_STREAM 1 streamtype=error'],
  ],
  ['80030001 00000017 00000003 00000000 0000 c22e555c92929907000000ffff', ['SYN_STREAM 3 streamtype=stdin']],
  ['80030001 00000019 00000005 00000000 0000 c22ac5565c92925f5a02000000ffff', ['SYN_STREAM 5 streamtype=stdout']],
  ['80030001 00000015 00000007 00000000 0000 c229975a5404000000ffff', ['SYN_STREAM 7 streamtype=stderr']],
  ['80030001 00000018 00000009 00000000 0000 c22e57945a9c59950a000000ffff', ['SYN_STREAM 9 streamtype=resize']],
  ['80030001 03000016 0000000b 00000000 0000 c22a072ad41201000000ffff', ['SYN_STREAM 11 fin unidirectional streamtype=data']],
  ['80030006 00000004 00000001', ['PING 1']],
  ['80030007 00000008 00000000 00000000', ['GOAWAY 0 0']],
  ['80030003 00000008 00000005 00000005', ['RST_STREAM 5 5']],
  ['00000003 00000003 68690a', ['DATA 3 68690a']],
  ['00000003 01000000', ['FIN 3']],
  ['80030008 00000013 00000003 82ca3082321f73054325000000ffff', ['HEADERS 3 a=x\\0y']],
  ['80030004 0000000c 00000001 00000004 00000064', []],
  ['80030009 00000008 00000003 00010000', []],
];

/** What a parser says to pieces, data put together. */
function parse(pieces: Iterable<Buffer>): string[] {
  const events: string[] = [];
  const decoder = new HeaderDecoder();
  const headers = (block: Buffer): string =>
    [...decoder.decode(block)].map(([name, value]) => ` ${name}=${value.replace('\0', '\\0')}`).join('');
  let data = '';
  const say = (event: string): void => {
    if (data !== '') events.push(data);
    data = '';
    events.push(event);
  };
  const parser = new FrameParser({
    synStream: ({ id, fin, unidirectional, block }) =>
      say(`SYN_STREAM ${id}${fin ? ' fin' : ''}${unidirectional ? ' unidirectional' : ''}${headers(block)}`),
    headers: ({ id, fin, block }) => say(`HEADERS ${id}${fin ? ' fin' : ''}${headers(block)}`),
    rstStream: (id, status) => say(`RST_STREAM ${id} ${status}`),
    ping: (id) => say(`PING ${id}`),
    goAway: (last, status) => say(`GOAWAY ${last} ${status}`),
    data: (id, piece) => {
      data = data === '' ? `DATA ${id} ${piece.toString('hex')}` : data + piece.toString('hex');
    },
    fin: (id) => say(`FIN ${id}`),
    failed: (reason) => say(`failed: ${reason}`),
  });
  for (const piece of pieces) {
    const read = Buffer.from(piece);
    parser.push(read);
    // The next read comes into the same memory.
    read.fill(0xff);
  }
  if (data !== '') events.push(data);
  return events;
}

const ALL = Buffer.concat(FROM_GO.map(([frame]) => bytes(frame)));
const EVENTS = FROM_GO.flatMap(([, events]) => events);

test("Go's frames are understood", () => {
  assert.deepEqual(parse([ALL]), EVENTS);
});

test('wherever the bytes are cut', () => {
  for (let cut = 1; cut < ALL.length; cut += 1) {
    assert.deepEqual(parse([ALL.subarray(0, cut), ALL.subarray(cut)]), EVENTS, `cut at ${cut}`);
  }
  assert.deepEqual(parse(Array.from(ALL, (byte) => Buffer.of(byte))), EVENTS, 'byte by byte');
});

test('frames that we send', () => {
  assert.equal(dataHead(5, 0x10203).toString('hex'), '0000000500010203');
  assert.equal(dataHead(5, 0, true).toString('hex'), '0000000501000000');
  assert.equal(ping(7).toString('hex'), '800300060000000400000007');
  assert.equal(rstStream(9, 5).toString('hex'), '80030003000000080000000900000005');
  assert.equal(goAway(9, 0).toString('hex'), '80030007000000080000000900000000');
  assert.equal(synReply(1, bytes('0102')).toString('hex'), '8003000200000006000000010102');
  assert.equal(synReply(1, bytes('0102'), true).toString('hex'), '8003000201000006000000010102');
});

test('data is handed on as it lies, without a copy', () => {
  const chunk = Buffer.concat([dataHead(1, 3), Buffer.from('abc')]);
  let piece: Buffer | undefined;
  const ignore = (): void => undefined;
  const parser = new FrameParser({
    synStream: ignore,
    headers: ignore,
    rstStream: ignore,
    ping: ignore,
    goAway: ignore,
    data: (_, data) => {
      piece = data;
    },
    fin: ignore,
    failed: ignore,
  });
  parser.push(chunk);
  assert.equal(piece?.buffer, chunk.buffer);
  assert.equal(piece?.toString(), 'abc');
});

test('the largest frame that the wire can say is data like any other', () => {
  const length = 0xffffff;
  const [event] = parse([dataHead(3, length), Buffer.alloc(length), ping(1)]);
  assert.equal(event?.length, 'DATA 3 '.length + 2 * length);
});

test('unknown control frames are skipped, however long', () => {
  const unknown = controlFrame(4711, 0xff, [], Buffer.alloc(100_000, 0xff));
  assert.deepEqual(parse([unknown, ping(1), controlFrame(10, 0, []), ping(3)]), ['PING 1', 'PING 3']);
});

test('what is no SPDY/3.1 is refused, and nothing is read after it', () => {
  const cases: readonly [string, Buffer, RegExp][] = [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /^DATA/],
    ['version 2', bytes('80020006 00000004 00000001'), /version 2/],
    ['version 4', bytes('80040006 00000004 00000001'), /version 4/],
    ['data of stream 0', bytes('00000000 00000001 00'), /without a stream/],
    ['short SYN_STREAM', bytes('80030001 00000009 000000000000000000'), /length/],
    ['short RST_STREAM', bytes('80030003 00000004 00000001'), /length/],
    ['long RST_STREAM', bytes('80030003 0000000c 00000001 00000005 00000000'), /length/],
    ['short PING', bytes('80030006 00000000'), /length/],
    ['long PING', bytes('80030006 00000008 00000001 00000000'), /length/],
    ['short GOAWAY', bytes('80030007 00000004 00000000'), /length/],
    ['long headers', controlFrame(1, 0, [1], Buffer.alloc(MAX_CONTROL_FRAME_BYTES)), /too long/],
  ];
  for (const [name, frame, reason] of cases) {
    const events = parse([frame, ping(1)]);
    assert.equal(events.length, 1, name);
    assert.match(events[0] ?? '', reason, name);
  }
});
