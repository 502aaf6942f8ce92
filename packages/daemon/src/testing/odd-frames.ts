/** Frames that clients of random habits send: mostly such that mean something, now and then such that no client should send. */
import { Buffer } from 'node:buffer';
import { controlFrame, dataHead, goAway, ping, rstStream } from '../transport/spdy/frames.ts';
import { clientFrame } from '../transport/websocket/test-frames.ts';
import { synStream, TestHeaderEncoder } from './spdy-client.ts';

export type Random = (below: number) => number;

export const pick = <T>(random: Random, values: readonly T[]): T => values[random(values.length)] as T;
export const noise = (random: Random, length: number): Buffer => Buffer.from(Array.from({ length }, () => random(256)));

/** Of SPDY. */
export class OddSpdyClient {
  readonly #random: Random;
  readonly #encoder = new TestHeaderEncoder();
  #nextId = 1;

  constructor(random: Random) {
    this.#random = random;
  }

  frame(): Buffer {
    const random = this.#random;
    const id = random(8) === 0 ? random(0x8000_0000) : 2 * random(12) + 1;
    switch (random(14)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return this.#syn();
      case 4:
        return rstStream(id, random(12));
      case 5:
        return ping(random(4) === 0 ? random(0x8000_0000) : 2 * random(100) + 1);
      case 6:
        return random(4) === 0 ? goAway(id, random(4)) : controlFrame(random(20), random(256), [id], noise(random, random(64)));
      case 7:
        return controlFrame(pick(random, [2, 8]), random(4), [id], this.#encoder.encode({ a: 'b' }));
      case 8:
        return controlFrame(pick(random, [1, 2, 3, 6, 7, 8]), 0, [], noise(random, random(40)));
      case 9:
        return random(10) === 0 ? noise(random, random(200)) : ping(1);
      default:
        return this.#data(id);
    }
  }

  #syn(): Buffer {
    const random = this.#random;
    const id = random(20) === 0 ? random(64) : this.#nextId;
    this.#nextId = Math.max(this.#nextId, id + 2);
    const headers: Record<string, string> = {
      streamtype: pick(random, ['error', 'stdin', 'stdout', 'stderr', 'resize', 'data', 'data', 'error', 'x', '']),
      port: pick(random, ['80', '1', '65535', '0', '99999', 'x']),
    };
    if (random(2) === 0) headers['requestid'] = String(random(6));
    return synStream(id, this.#encoder.encode(headers), random(8) === 0 ? random(4) : 0);
  }

  #data(id: number): Buffer {
    const random = this.#random;
    const length = random(6) === 0 ? random(60_000) : random(40);
    const payload = random(4) === 0 ? Buffer.from('{"Width":80,"Height":24}') : Buffer.alloc(length, random(256));
    // Now and then more is announced than comes: what follows is taken for data.
    const claimed = payload.length + (random(60) === 0 ? random(500) : 0);
    return Buffer.concat([dataHead(id, claimed, random(12) === 0), payload]);
  }
}

/** A message as sessions and forwarded ports know them. */
function message(random: Random): Buffer {
  const channel = random(8) === 0 ? random(256) : random(6);
  const size = Buffer.from('{"Width":80,"Height":24}');
  const ends = Buffer.of(pick(random, [0, 0, 1, 4, 255]));
  const text = noise(random, random(60)).toString('base64');
  switch (random(6)) {
    case 0:
      return Buffer.concat([Buffer.of(4), size]);
    case 1:
      return Buffer.concat([Buffer.of(255), ends]);
    case 2:
      return Buffer.from(`${random(6)}${text}`);
    default:
      return Buffer.concat([Buffer.of(channel), noise(random, random(random(10) === 0 ? 5_000 : 40))]);
  }
}

/** Of WebSocket; a data frame has the payload, or a message of a channel. */
export function oddWebSocketFrame(random: Random, payload: Buffer = message(random)): Buffer {
  const isControl = random(6) === 0;
  const usual = isControl ? pick(random, [8, 9, 9, 10, 10]) : 2;
  const frame = clientFrame({
    opcode: random(30) === 0 ? random(16) : usual,
    payload: isControl ? payload.subarray(0, random(130)) : payload,
    final: random(12) > 0,
    reserved: random(60) === 0 ? random(8) : 0,
    masked: random(60) > 0,
    ...(random(40) === 0 ? { claimedLength: random(payload.length * 2 + 2) } : {}),
  });
  if (random(40) === 0) frame[random(frame.length)] = random(256);
  return frame;
}
