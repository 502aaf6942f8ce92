// Output to descriptors whose readers are slow, gone, or have made them non-blocking.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { without } from './fd-writer.ts';

const MODULE = new URL('fd-writer.ts', import.meta.url).href;

test('a partial write leaves the rest, over the borders of buffers', () => {
  const buffers = ['ab', '', 'cde', 'f'].map((text) => Buffer.from(text));
  for (let bytes = 0; bytes <= 6; bytes += 1)
    assert.equal(Buffer.concat(without(buffers, bytes)).toString(), 'abcdef'.slice(bytes));
  assert.deepEqual(without(buffers, 6), []);
});

for (const nonBlocking of [false, true]) {
  test(`all bytes arrive in order, and timers go on while the reader sleeps${nonBlocking ? ' (non-blocking pipe)' : ''}`, async () => {
    const seed = randomBytes(4096).toString('base64');
    // Touching process.stdin of a pipe makes it non-blocking; descriptor 1 is the same open file here.
    const code = `
      import { FdWriter } from '${MODULE}';
      ${nonBlocking ? 'const { Socket } = await import("node:net"); new Socket({ fd: 1, readable: false });' : ''}
      const writer = new FdWriter(1);
      let [full, ticks] = [false, 0];
      setInterval(() => { if (full && ++ticks === 10) console.error('ticking'); }, 20).unref();
      const block = Buffer.from('${seed}', 'base64');
      for (let i = 0; i < 2000; i += 1) if (!writer.write(block)) {
        full = true;
        await new Promise((go) => writer.once('drain', go));
      }
      writer.end(() => process.exit(0));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code]);
    let err = '';
    child.stderr.on('data', (chunk) => (err += String(chunk)));
    await once(child.stderr, 'data');
    assert.equal(err, 'ticking\n');
    const hash = createHash('sha256');
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
    });
    await once(child, 'close');
    const expected = createHash('sha256');
    for (let i = 0; i < 2000; i += 1) expected.update(Buffer.from(seed, 'base64'));
    assert.equal(bytes, 2000 * 4096, err);
    assert.equal(hash.digest('hex'), expected.digest('hex'));
  });
}
