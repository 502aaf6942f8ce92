/** Both streams to the byte, up to the limit, and what they cost meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectGarbage } from '../testing/collect-garbage.ts';
import { exitRecord } from '../testing/exit-record.ts';
import { type Collected, collectOutput } from './collect-output.ts';
import type { ShimListener } from './shim.ts';

/** A program whose output the test writes. */
class Program {
  readonly output: Promise<Collected>;
  readonly acks: number[] = [];
  #listener: ShimListener | undefined;
  #offset = 0;

  constructor(limit: number) {
    const io = {
      listen: (listener: ShimListener | undefined) => {
        this.#listener = listener;
      },
      subscribe: () => {},
      ack: (offset: number) => void this.acks.push(offset),
    };
    this.output = collectOutput({ io }, limit);
  }

  /** The memory is the shim client's, which uses it again as soon as nobody holds it. */
  write(stream: 1 | 2, data: Buffer): void {
    this.#listener?.output(stream, this.#offset, data);
    this.#offset += data.length;
    assert.equal(this.#listener?.holds?.(0, this.#offset), false);
  }

  exit(): void {
    this.#listener?.exit(exitRecord(0));
  }
}

test('pieces of any length, in order and by stream; their memory may be used again at once', async () => {
  const program = new Program(16 * 1024 * 1024);
  const expected = { 1: [] as Buffer[], 2: [] as Buffer[] };
  const read = Buffer.alloc(64 * 1024);
  for (let i = 0; i < 400; i++) {
    const stream = i % 3 === 0 ? 2 : 1;
    const piece = read.subarray(0, [1, 7, 4_000, 65_536][i % 4]).fill(i);
    expected[stream].push(Buffer.from(piece));
    program.write(stream, piece);
  }
  program.exit();
  const { stdout, stderr, dropped } = await program.output;
  assert.ok(stdout.equals(Buffer.concat(expected[1])));
  assert.ok(stderr.equals(Buffer.concat(expected[2])));
  assert.equal(dropped, 0);
  assert.ok(program.acks.length > 10);
});

test('the limit holds for both streams together', async () => {
  const program = new Program(10);
  program.write(1, Buffer.from('1234'));
  program.write(2, Buffer.from('56789'));
  program.write(1, Buffer.from('abc'));
  program.write(2, Buffer.from('d'));
  program.exit();
  const { stdout, stderr, dropped } = await program.output;
  assert.deepEqual([stdout.toString(), stderr.toString(), dropped], ['1234a', '56789', 3]);
});

test('single bytes cost little more than their bytes', async () => {
  const count = 500_000;
  const program = new Program(16 * 1024 * 1024);
  const read = Buffer.alloc(64 * 1024, 'x');
  collectGarbage();
  const before = process.memoryUsage();
  for (let i = 0; i < count; i++) program.write(i % 2 === 0 ? 1 : 2, read.subarray(i % read.length, (i % read.length) + 1));
  collectGarbage();
  const after = process.memoryUsage();
  const cost = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  assert.ok(cost < 8 * count, `${cost} bytes`);
  program.exit();
  const { stdout, stderr } = await program.output;
  assert.deepEqual([stdout.length, stderr.length], [count / 2, count / 2]);
});
