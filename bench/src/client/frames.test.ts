/** Tests of the load generator's own frames: a benchmark that miscounts is worse than none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameReader } from './frame-reader.ts';
import { message } from './frame-writer.ts';

const read = (bytes: Buffer, piece: number) => {
  const channels = new Map<number, Buffer[]>();
  const seen: string[] = [];
  const reader = new FrameReader({
    data(channel, data) {
      const pieces = channels.get(channel) ?? [];
      channels.set(channel, pieces);
      pieces.push(Buffer.from(data));
    },
    ping: (payload) => seen.push(`ping ${payload.toString()}`),
    close: (code) => seen.push(`close ${code}`),
  });
  for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
  return { of: (channel: number) => Buffer.concat(channels.get(channel) ?? []).toString('latin1'), seen, channels };
};

const long = Buffer.alloc(70_000, 'l');
const STREAM = Buffer.concat([
  Buffer.from('820101', 'hex'), // an empty first message on stdout
  Buffer.from('820401616263', 'hex'),
  Buffer.from('0203017878', 'hex'), // a message in three fragments, one of them empty, a ping between them
  Buffer.from('890568656c6c6f', 'hex'),
  Buffer.from('0000', 'hex'),
  Buffer.from('80027979', 'hex'),
  Buffer.from('827f0000000000011171', 'hex'),
  Buffer.concat([Buffer.of(2), long]),
  Buffer.from('827e008003', 'hex'),
  Buffer.alloc(127, 's'),
  Buffer.from('880203e8', 'hex'),
]);

for (const piece of [1, 2, 3, 7, 4096, STREAM.length]) {
  test(`frames come apart whatever the pieces (${piece} bytes)`, () => {
    const { of, seen, channels } = read(STREAM, piece);
    assert.equal(of(1), 'abcxxyy');
    assert.equal(of(2), long.toString());
    assert.equal(of(3), 's'.repeat(127));
    assert.deepEqual(seen, ['ping hello', 'close 1000']);
    assert.equal(channels.get(1)?.[0]?.length, 0, 'the empty first message is told');
  });
}

test('a masked frame and an endless control frame are refused', () => {
  assert.throws(() => read(Buffer.from('82810000000001', 'hex'), 100));
  assert.throws(() => read(Buffer.from('897e0100', 'hex'), 100));
});

test('a message has its length, a zero mask and its channel', () => {
  assert.equal(message(0, Buffer.from('ab')).toString('hex'), '828300000000006162');
  assert.equal(message(4, Buffer.alloc(200)).subarray(0, 9).toString('hex'), '82fe00c90000000004');
  assert.equal(message(0, Buffer.alloc(70_000)).subarray(0, 15).toString('hex'), '82ff00000000000111710000000000');
});
