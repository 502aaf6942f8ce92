/** Bytes for tests of volume: many, in chunks of odd lengths, and the same again for the same seed. */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { randomFrom } from '../transport/websocket/test-frames.ts';

/** Chunks of varying length that repeat nothing; the same for the same seed. */
export function* chunksOf(total: number, seed: number): Generator<Uint8Array> {
  const random = randomFrom(seed);
  const noise = Buffer.from(Array.from({ length: 256 * 1024 }, () => random(256)));
  for (let left = total; left > 0; ) {
    const size = Math.min(left, 1 + random(3) * random(32 * 1024) + random(2_000));
    const at = random(noise.length - size);
    yield noise.subarray(at, at + size);
    left -= size;
  }
}

/** The SHA-256 of all of them. */
export function digest(total: number, seed: number): string {
  const hash = createHash('sha256');
  for (const chunk of chunksOf(total, seed)) hash.update(chunk);
  return hash.digest('hex');
}
