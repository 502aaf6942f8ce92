// What a forwarded port's input keeps while nobody reads it.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { setImmediate as immediate } from 'node:timers/promises';
import { test } from 'node:test';
import { PortChannel } from './port-channel.ts';

test('input that waits keeps no more than twice its bytes of the reads that it came with', async () => {
  const channel = new PortChannel(80, 0, { send: () => undefined, changed: () => undefined });
  // The first is pushed at once, since it has been asked for; the others wait.
  channel.read(0);
  const sizes = [1, 2_000, 1, 20_000, 40_000];
  for (const bytes of sizes) {
    channel.takeInput(Buffer.from(new ArrayBuffer(64 * 1024)).subarray(0, bytes));
    channel.flush();
  }
  const got: Buffer[] = [];
  channel.on('data', (chunk: Buffer) => got.push(chunk));
  await immediate();
  assert.deepEqual(
    got.map(({ length }) => length),
    sizes,
  );
  for (const { length, buffer } of got) assert.ok(buffer.byteLength <= 2 * length, `${buffer.byteLength} for ${length}`);
});
