// Header blocks both ways against zlib itself, and everything that a client could send instead.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { constants, createInflate, deflateRawSync, deflateSync } from 'node:zlib';
import { TestHeaderEncoder } from '../../testing/spdy-client.ts';
import { DICTIONARY, DICTIONARY_ID } from './dictionary.ts';
import { HeaderDecoder, HeaderError } from './header-decoder.ts';
import { HeaderEncoder } from './header-encoder.ts';

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

test('the dictionary is that of SPDY/3', () => {
  let a = 1;
  let b = 0;
  for (const byte of DICTIONARY) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  assert.equal(DICTIONARY.length, 1423);
  assert.equal(b * 65_536 + a, DICTIONARY_ID);
});

test('an empty block is what Go was seen to take', () => {
  const encoder = new HeaderEncoder();
  assert.equal(encoder.encode([]).toString('hex'), '78f9e3c6a7c2000400fbff00000000000000ffff');
  assert.equal(encoder.encode([]).toString('hex'), '000400fbff00000000000000ffff');
});

test("zlib's own stream reads what we encode, block by block", async () => {
  const encoder = new HeaderEncoder();
  const inflate = createInflate({ dictionary: DICTIONARY });
  for (const headers of [[], [['a', 'b']], [['x', 'y'.repeat(60_000)]], []] as const) {
    const read = new Promise<Buffer>((resolve) => {
      let text = Buffer.alloc(0);
      const take = (chunk: Buffer): void => {
        text = Buffer.concat([text, chunk]);
      };
      inflate.on('data', take);
      inflate.write(encoder.encode(headers), () => {
        inflate.off('data', take);
        resolve(text);
      });
    });
    const strings = headers.flat().flatMap((string) => [word(string.length), Buffer.from(string)]);
    assert.deepEqual(await read, Buffer.concat([word(headers.length), ...strings]));
  }
  assert.throws(() => encoder.encode([['x', 'y'.repeat(70_000)]]), RangeError);
});

test('a thousand blocks of one compressed stream, each reaching back into the ones before', () => {
  const encoder = new TestHeaderEncoder();
  const decoder = new HeaderDecoder();
  for (let i = 0; i < 1_000; i += 1) {
    const headers = { streamtype: i % 2 === 0 ? 'error' : 'data', port: String(i), requestid: `${i}-${'z'.repeat(i % 300)}` };
    assert.deepEqual(Object.fromEntries(decoder.decode(encoder.encode(headers))), headers);
  }
});

test('names are lower case; values may be anything', () => {
  const decoded = new HeaderDecoder().decode(new TestHeaderEncoder().encode({ StreamType: 'é\0x', empty: '' }));
  assert.deepEqual(
    [...decoded],
    [
      ['streamtype', 'é\0x'],
      ['empty', ''],
    ],
  );
});

test('a stream without the dictionary is read as well', () => {
  const text = Buffer.concat([word(1), word(1), Buffer.from('a'), word(1), Buffer.from('b')]);
  const block = deflateSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
  assert.deepEqual([...new HeaderDecoder().decode(block)], [['a', 'b']]);
});

test('everything else is refused by name', () => {
  const compressed = (text: Buffer): Buffer => new TestHeaderEncoder().compress(text);
  const flush = { finishFlush: constants.Z_SYNC_FLUSH };
  const unknown = Buffer.concat([Buffer.of(0x78, 0xbb), word(0x12345678)]);
  const name = Buffer.concat([word(1), Buffer.from('a'), word(0)]);
  const good = compressed(word(0));
  const cases: readonly [string, Buffer, RegExp][] = [
    ['nothing', Buffer.alloc(0), /cut off/],
    ['no zlib', Buffer.from('streamtype: error\0\0\xff\xff', 'latin1'), /zlib/],
    ['gzip', Buffer.from('1f8b0800000000000003000000ffff', 'hex'), /zlib/],
    ['an unknown dictionary', Buffer.concat([unknown, deflateRawSync(word(0), flush)]), /unknown dictionary/],
    ['no sync flush', good.subarray(0, -1), /cut off/],
    ['garbage for deflate', Buffer.concat([good.subarray(0, 6), Buffer.from('ffffffff0000ffff', 'hex')]), /damaged/],
    ['a distance too far back', Buffer.from('7801 4b4c02 1300 0000ffff'.replaceAll(' ', ''), 'hex'), /damaged|cut off/],
    ['a bomb', compressed(Buffer.alloc(16 * 1024 * 1024)), /too long/],
    ['cut headers', compressed(Buffer.concat([word(1), word(5), Buffer.from('abc')])), /cut off/],
    ['a count alone', compressed(word(1)), /cut off/],
    ['no count', compressed(Buffer.of(0, 0)), /cut off/],
    ['a length of 4 GiB', compressed(Buffer.concat([word(1), word(0xffffffff), Buffer.alloc(16)])), /cut off/],
    ['a count of 4 billion', compressed(Buffer.concat([word(0xffffffff), Buffer.alloc(16)])), /too many/],
    ['a header twice', compressed(Buffer.concat([word(2), name, name])), /twice/],
    ['no name', compressed(Buffer.concat([word(1), word(0), word(0)])), /no name/],
    ['more than the headers', compressed(Buffer.concat([word(0), Buffer.of(1)])), /follows/],
  ];
  for (const [what, block, reason] of cases) {
    assert.throws(
      () => new HeaderDecoder().decode(block),
      (error: unknown) => error instanceof HeaderError && reason.test(error.message),
      what,
    );
  }
});

test('headers of 4 KiB in all are read, those of one byte more are not', () => {
  // The count, and the length of the name and of the value, with a name of one byte.
  const around = 4 + 4 + 1 + 4;
  const most = 4 * 1024 - around;
  const decoder = new HeaderDecoder();
  const encoder = new TestHeaderEncoder();
  assert.equal(decoder.decode(encoder.encode({ a: 'x'.repeat(most) })).get('a')?.length, most);
  assert.throws(() => decoder.decode(encoder.encode({ a: 'x'.repeat(most + 1) })), /too long/);
});

test('a bomb costs what is allowed and no more', () => {
  const bomb = new TestHeaderEncoder().compress(Buffer.alloc(256 * 1024 * 1024));
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  const used = process.cpuUsage();
  for (let i = 0; i < 20; i += 1) assert.throws(() => new HeaderDecoder().decode(bomb), /too long/);
  const { user, system } = process.cpuUsage(used);
  assert.ok(user + system < 2_000_000, 'it is not inflated to the end');
  assert.ok(process.memoryUsage().rss - before < 32 * 1024 * 1024);
});
