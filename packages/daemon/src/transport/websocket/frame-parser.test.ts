// The frame parser on vectors, on every cut, and on garbage.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { FrameParser } from './frame-parser.ts';
import { unmask } from './mask.ts';
import { clientFrame, randomFrom } from './test-frames.ts';

const FUZZ_RUNS = 3_000;
const FUZZ_SEED = 20_261_128;
const utf8 = (text: string): Buffer => Buffer.from(text);

/** Parses chunks and gives the events as text, pieces of one message joined. */
function parse(chunks: readonly Buffer[], maxMessageBytes?: number): string[] {
  const events: string[] = [];
  let message: Buffer[] = [];
  const parser = new FrameParser(
    {
      messageStart: () => {
        message = [];
        events.push('start');
      },
      messagePiece: (piece) => {
        assert.ok(piece.length > 0, 'a piece is never empty');
        message.push(Buffer.from(piece));
      },
      messageEnd: () => events.push(`message ${Buffer.concat(message).toString('hex')}`),
      ping: (payload) => events.push(`ping ${payload.toString('hex')}`),
      pong: () => events.push('pong'),
      close: (code) => events.push(`close ${code}`),
      failed: (code, reason) => events.push(`failed ${code} ${reason}`),
    },
    maxMessageBytes,
  );
  for (const chunk of chunks) {
    parser.push(chunk);
    // The next read comes into the same memory.
    chunk.fill(0xff);
  }
  return events;
}

const parseCopy = (bytes: Buffer, max?: number): string[] => parse([Buffer.from(bytes)], max);

test('the masked Hello of RFC 6455 is read', () => {
  assert.deepEqual(parse([Buffer.from('818537fa213d7f9f4d5158', 'hex')]), ['start', `message ${utf8('Hello').toString('hex')}`]);
});

test('unmasking agrees with the definition at every offset, length and phase', () => {
  const key = Uint8Array.of(1, 0x80, 0xff, 0x5a);
  for (let offset = 0; offset < 5; offset += 1) {
    for (let phase = 0; phase < 5; phase += 1) {
      for (let length = 0; length < 200; length += 1) {
        const bytes = new Uint8Array(new ArrayBuffer(offset + length + 3), offset).fill(0x33);
        unmask(bytes, 0, length, key, phase);
        for (let i = 0; i < bytes.length; i += 1) {
          const expected = i < length ? 0x33 ^ (key[(i + phase) % 4] ?? 0) : 0x33;
          assert.equal(bytes[i], expected, `offset ${offset} phase ${phase} length ${length} at ${i}`);
        }
      }
    }
  }
});

test('a conversation gives the same events wherever it is cut', () => {
  const bytes = Buffer.concat([
    clientFrame({ opcode: 2, payload: utf8('\0one') }),
    clientFrame({ opcode: 1, payload: utf8('text too') }),
    clientFrame({ opcode: 2, final: false }),
    clientFrame({ opcode: 0, payload: Buffer.alloc(130, 'a'), final: false }),
    clientFrame({ opcode: 9, payload: utf8('ping inside') }),
    clientFrame({ opcode: 0, payload: utf8('last') }),
    clientFrame({ opcode: 10, payload: utf8('x') }),
    clientFrame({ opcode: 9 }),
    clientFrame({ opcode: 2 }),
    clientFrame({ opcode: 2, payload: utf8('long form'), lengthBytes: 8 }),
    clientFrame({ opcode: 8, payload: Buffer.concat([Buffer.from([0x03, 0xe8]), utf8('bye')]) }),
    clientFrame({ opcode: 2, payload: utf8('after close') }),
  ]);
  const whole = parseCopy(bytes);
  assert.deepEqual(whole, [
    'start',
    `message ${utf8('\0one').toString('hex')}`,
    'start',
    `message ${utf8('text too').toString('hex')}`,
    'start',
    `ping ${utf8('ping inside').toString('hex')}`,
    `message ${Buffer.concat([Buffer.alloc(130, 'a'), utf8('last')]).toString('hex')}`,
    'pong',
    'ping ',
    'start',
    'message ',
    'start',
    `message ${utf8('long form').toString('hex')}`,
    'close 1000',
  ]);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    assert.deepEqual(parse([Buffer.from(bytes.subarray(0, cut)), Buffer.from(bytes.subarray(cut))]), whole, `cut at ${cut}`);
  }
  const single = Array.from(bytes, (byte) => Buffer.of(byte));
  assert.deepEqual(parse(single), whole);
});

test('what RFC 6455 forbids fails with its close code', () => {
  const cases: readonly [string, Buffer, string][] = [
    ['unmasked', clientFrame({ opcode: 2, payload: utf8('x'), masked: false }), 'failed 1002 the frame is not masked'],
    ['reserved bit', clientFrame({ opcode: 2, reserved: 4 }), 'failed 1002 reserved bits are set'],
    ['opcode 3', clientFrame({ opcode: 3 }), 'failed 1002 unknown opcode'],
    ['opcode 11', clientFrame({ opcode: 11 }), 'failed 1002 unknown opcode'],
    ['fragmented ping', clientFrame({ opcode: 9, final: false }), 'failed 1002 a control frame is fragmented'],
    ['long ping', clientFrame({ opcode: 9, payload: Buffer.alloc(126) }), 'failed 1002 a control frame is too long'],
    ['lone continuation', clientFrame({ opcode: 0 }), 'failed 1002 a continuation of nothing'],
    ['close of one byte', clientFrame({ opcode: 8, payload: Buffer.of(3) }), 'failed 1002 the close frame has no valid code'],
    ['close 1005', clientFrame({ opcode: 8, payload: Buffer.of(3, 0xed) }), 'failed 1002 the close frame has no valid code'],
    ['close 999', clientFrame({ opcode: 8, payload: Buffer.of(3, 0xe7) }), 'failed 1002 the close frame has no valid code'],
    ['close reason', clientFrame({ opcode: 8, payload: Buffer.of(3, 0xe8, 0xff) }), 'failed 1007 the close reason is not UTF-8'],
    ['33 MiB', clientFrame({ opcode: 2, claimedLength: 33 * 2 ** 20 }), 'failed 1009 the message is too big'],
    ['2^63', clientFrame({ opcode: 2, claimedLength: 2 ** 63, lengthBytes: 8 }), 'failed 1009 the message is too big'],
  ];
  for (const [name, bytes, expected] of cases) {
    assert.deepEqual(parseCopy(Buffer.concat([bytes, clientFrame({ opcode: 9 })])), [expected], name);
  }
});

test('a message inside a message and a too long one of fragments fail', () => {
  const begin = clientFrame({ opcode: 2, payload: utf8('abc'), final: false });
  assert.deepEqual(parseCopy(Buffer.concat([begin, clientFrame({ opcode: 2 })])), [
    'start',
    'failed 1002 a message inside a message',
  ]);
  const more = clientFrame({ opcode: 0, payload: utf8('de'), final: false });
  assert.deepEqual(parseCopy(Buffer.concat([begin, more, more]), 6), ['start', 'failed 1009 the message is too big']);
  assert.deepEqual(parseCopy(Buffer.concat([begin, clientFrame({ opcode: 0, payload: utf8('def') })]), 6), [
    'start',
    `message ${utf8('abcdef').toString('hex')}`,
  ]);
});

test('close without a code has none', () => {
  assert.deepEqual(parseCopy(clientFrame({ opcode: 8 })), ['close undefined']);
});

test(`fuzz: ${FUZZ_RUNS} conversations, valid and damaged, cut at random, give the events of the uncut ones`, () => {
  const random = randomFrom(FUZZ_SEED);
  let failures = 0;
  for (let run = 0; run < FUZZ_RUNS; run += 1) {
    const frames: Buffer[] = [];
    const valid = random(2) === 0;
    let open = false;
    for (let i = random(8); i >= 0; i -= 1) {
      const payload = Buffer.alloc(random(4) === 0 ? random(70_000) : random(200), random(256));
      const control = random(4) === 0;
      const final = random(3) > 0;
      const key = Uint8Array.from({ length: 4 }, () => random(256));
      const opcode = control ? 9 + random(2) : open ? 0 : 1 + random(2);
      frames.push(
        clientFrame({ opcode, key, payload: control ? payload.subarray(0, random(126)) : payload, final: control || final }),
      );
      if (!control) open = !final;
    }
    const bytes = Buffer.concat(frames);
    // Half of the damage hits the heads of frames, the rest anything.
    const heads = frames.map((_, i) => frames.slice(0, i).reduce((sum, each) => sum + each.length, 0));
    for (let i = valid ? 0 : 1 + random(4); i > 0; i -= 1) {
      const at = random(2) === 0 ? (heads[random(heads.length)] ?? 0) + random(2) : random(bytes.length);
      bytes[at] = random(256);
    }
    const expected = parseCopy(bytes);
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + (random(2) === 0 ? random(9) : random(70_000));
      chunks.push(Buffer.from(bytes.subarray(at, at + size)));
      at += size;
    }
    assert.deepEqual(parse(chunks), expected, `run ${run}`);
    if (expected.some((event) => event.startsWith('failed'))) failures += 1;
    if (valid) assert.ok(!expected.some((event) => event.startsWith('failed')), `run ${run}: ${expected.at(-1)}`);
  }
  assert.ok(failures > FUZZ_RUNS / 10, 'the damage was noticed in some runs');
});
