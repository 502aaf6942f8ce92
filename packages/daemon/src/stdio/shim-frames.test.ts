import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { eventFrame, outputFrame } from '../testing/shim-events.ts';
import { Event, FrameParser, ShimProtocolError } from './shim-frames.ts';

/** Rounds of the fuzz tests: a few seconds of one core. */
const FUZZ_ROUNDS = 3000;

type Seen = { kind: 'output'; stream: number; offset: number; data: string } | { kind: 'control'; type: number; payload: string };

/** Feeds pieces of the given sizes; neighbouring pieces of one stream are joined, as a reader would see them. */
function parse(bytes: Buffer, cut: () => number): Seen[] {
  const seen: Seen[] = [];
  const parser = new FrameParser({
    output(stream, offset, data) {
      const last = seen.at(-1);
      if (last?.kind === 'output' && last.stream === stream && last.offset + last.data.length / 2 === offset)
        last.data += data.toString('hex');
      else seen.push({ kind: 'output', stream, offset, data: data.toString('hex') });
    },
    control(type, payload) {
      seen.push({ kind: 'control', type, payload: payload.toString('hex') });
    },
  });
  for (let at = 0; at < bytes.length; ) {
    const size = Math.max(1, cut());
    parser.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return seen;
}

test('frames give the same events however they are cut', () => {
  const bytes = Buffer.concat([
    eventFrame(Event.WELCOME, 0, randomBytes(60)),
    outputFrame(1, 0, Buffer.from([0])),
    outputFrame(2, 1, randomBytes(300)),
    eventFrame(Event.GAP, 0, randomBytes(16)),
    eventFrame(Event.STDIN_CREDIT, 0, Buffer.from([1, 0, 0, 0])),
    outputFrame(1, 2 ** 40, randomBytes(65_536)),
    eventFrame(Event.EXIT, 0, randomBytes(32)),
  ]);
  const whole = parse(bytes, () => bytes.length);
  assert.equal(whole.length, 7);
  assert.deepEqual(whole[5], {
    kind: 'output',
    stream: 1,
    offset: 2 ** 40,
    data: bytes.subarray(-65_536 - 40, -40).toString('hex'),
  });
  assert.deepEqual(
    parse(bytes, () => 1),
    whole,
  );
  for (let size = 2; size < 80; size++)
    assert.deepEqual(
      parse(bytes, () => size),
      whole,
      `cut every ${size} bytes`,
    );
  for (let i = 0; i < 200; i++)
    assert.deepEqual(
      parse(bytes, () => 1 + Math.floor(Math.random() * 5000)),
      whole,
    );
});

test('what is not a frame is refused', () => {
  const bad: Record<string, Buffer> = {
    'reserved bytes': Buffer.from([0, 0, 0, 0, Event.GAP, 0, 1, 0]),
    'flags on a control frame': Buffer.from([0, 0, 0, 0, Event.GAP, 1, 0, 0]),
    'output without a stream': eventFrame(Event.OUTPUT, 0, Buffer.alloc(9)),
    'output of a third stream': eventFrame(Event.OUTPUT, 3, Buffer.alloc(9)),
    'output without data': eventFrame(Event.OUTPUT, 1, Buffer.alloc(8)),
    'too long output': eventFrame(Event.OUTPUT, 1, Buffer.alloc(65_536 + 9)),
    'too long control frame': eventFrame(Event.REPLY, 0, Buffer.alloc(257)),
    'an offset beyond 2^53': eventFrame(Event.OUTPUT, 1, Buffer.alloc(9, 0xff)),
  };
  for (const [name, bytes] of Object.entries(bad)) assert.throws(() => parse(bytes, () => bytes.length), ShimProtocolError, name);
});

test('garbage never does worse than being refused', () => {
  for (let round = 0; round < FUZZ_ROUNDS; round++) {
    const bytes = randomBytes(64 + Math.floor(Math.random() * 400));
    // Half the rounds begin with a plausible header, so that the states behind it are reached.
    if (round % 2 === 0) {
      bytes.writeUInt32LE(Math.floor(Math.random() * 300), 0);
      bytes[4] = 0x81 + (round % 8);
      bytes[5] = round % 3;
      bytes.writeUInt16LE(0, 6);
    }
    try {
      parse(bytes, () => 1 + Math.floor(Math.random() * 64));
    } catch (error) {
      assert.ok(error instanceof ShimProtocolError, `${(error as Error).stack} for ${bytes.toString('hex')}`);
    }
  }
});
