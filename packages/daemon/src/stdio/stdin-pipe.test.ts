/** Against a real pipe: what it has taken and what comes back are together what was written, to the byte. */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, readSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pipeEnds } from '../testing/pipe-ends.ts';
import { PIPE_WINDOW_BYTES, type PipeEvents, type PipeOffer, StdinPipe } from './stdin-pipe.ts';
import { StdinWay } from './stdin-way.ts';

/** A pipe of this process, whose writing end stands for the shim's. */
function makePipe(t: TestContext): {
  readonly offer: PipeOffer;
  readonly read: (most?: number) => Buffer;
  readonly closeReader: () => void;
} {
  const [reader, shims] = pipeEnds();
  let open = true;
  const closeReader = (): void => {
    if (open) closeSync(reader);
    open = false;
  };
  t.after(() => {
    closeReader();
    closeSync(shims);
  });
  const read = (most = Number.POSITIVE_INFINITY): Buffer => {
    const pieces: Buffer[] = [];
    for (let left = most; left > 0; ) {
      const piece = Buffer.alloc(Math.min(left, 65_536));
      try {
        const bytes = readSync(reader, piece);
        if (bytes === 0) break;
        pieces.push(piece.subarray(0, bytes));
        left -= bytes;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') break;
        throw error;
      }
    }
    return Buffer.concat(pieces);
  };
  return { offer: { pid: process.pid, descriptor: shims, inode: fstatSync(shims, { bigint: true }).ino }, read, closeReader };
}

const events = (more: Partial<PipeEvents> = {}): PipeEvents => ({ room() {}, stuck() {}, broken() {}, ...more });

/** Numbered bytes: what is missing, doubled or out of order shows. */
const numbered = (from: number, bytes: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, i) => from / 4 + i).buffer);

/** Memory that is written over once the event loop goes on, as that of a client's reads. */
function lent(chunk: Buffer): Buffer {
  setImmediate(() => chunk.fill(0xff));
  return chunk;
}

test('what the pipe has taken and what is taken back is all that was written, wherever the reader stands', async (t) => {
  let random = 7;
  const upTo = (limit: number): number => {
    random = (random * 1_103_515_245 + 12_345) % 2 ** 31;
    return random % limit;
  };
  let back = 0;
  for (let round = 0; round < 200; round++) {
    const { offer, read } = makePipe(t);
    const pipe = StdinPipe.open(offer, events());
    assert.ok(pipe !== undefined);
    const got: Buffer[] = [];
    let written = 0;
    for (let step = upTo(12); step > 0; step--) {
      const bytes = 4 * upTo(9000);
      if (bytes > 0 && bytes <= pipe.room) {
        pipe.write(lent(numbered(written, bytes)));
        written += bytes;
      }
      if (upTo(3) > 0) got.push(read(upTo(40_000)));
      if (upTo(3) > 0) await sleep(0);
    }
    const rest = Buffer.concat(pipe.takeBack());
    assert.deepEqual(pipe.takeBack(), []);
    await sleep(0);
    got.push(read(), rest);
    assert.ok(Buffer.concat(got).equals(numbered(0, written)), `round ${round}: ${written} bytes written`);
    back += rest.length;
  }
  assert.ok(back > PIPE_WINDOW_BYTES, 'much of it had to be taken back');
});

test('many pieces in one turn are one after the other in the pipe, however little it has room for', async (t) => {
  const { offer, read } = makePipe(t);
  const pipe = StdinPipe.open(offer, events());
  assert.ok(pipe !== undefined);
  // More pieces than one write may have (IOV_MAX, 1024; libuv goes on), and the pipe takes only some of them.
  const [first, pieces, each] = [PIPE_WINDOW_BYTES - 4096, 3000, 20];
  pipe.write(lent(numbered(0, first)));
  await sleep(1);
  for (let i = 0; i < pieces; i++) pipe.write(lent(numbered(first + i * each, each)));
  const got: Buffer[] = [];
  while (pipe.queued > 0) {
    await sleep(1);
    got.push(read(7_000));
  }
  got.push(read());
  assert.ok(Buffer.concat(got).equals(numbered(0, first + pieces * each)));
  pipe.close();
});

test('a pipe that is another one, has no reader or is not there is not opened', (t) => {
  const { offer, closeReader } = makePipe(t);
  assert.equal(StdinPipe.open({ ...offer, inode: offer.inode + 1n }, events()), undefined);
  assert.equal(StdinPipe.open({ ...offer, descriptor: 99_999 }, events()), undefined);
  closeReader();
  assert.equal(StdinPipe.open(offer, events()), undefined);
});

test('a reader that stops is noticed, also after nobody has written for a while, and again', async (t) => {
  const { offer, read } = makePipe(t);
  let stuck = Promise.withResolvers<void>();
  const pipe = StdinPipe.open(offer, events({ stuck: () => stuck.resolve() }));
  assert.ok(pipe !== undefined);
  pipe.write(numbered(0, 4));
  await sleep(2500);
  for (let round = 0; round < 2; round++) {
    stuck = Promise.withResolvers();
    pipe.write(numbered(0, PIPE_WINDOW_BYTES));
    await sleep(5);
    pipe.write(numbered(0, pipe.room));
    await stuck.promise;
    for (let i = 0; i < 10; i++) {
      read();
      await sleep(1);
    }
    assert.equal(pipe.queued, 0);
  }
  pipe.close();
});

test('a reader that goes is told once, and what waited is dropped', async (t) => {
  const { offer, closeReader } = makePipe(t);
  const broken = Promise.withResolvers<void>();
  let times = 0;
  const pipe = StdinPipe.open(
    offer,
    events({
      broken() {
        times += 1;
        broken.resolve();
      },
    }),
  );
  assert.ok(pipe !== undefined);
  pipe.write(numbered(0, PIPE_WINDOW_BYTES));
  await sleep(5);
  pipe.write(numbered(0, PIPE_WINDOW_BYTES));
  closeReader();
  await broken.promise;
  assert.deepEqual([pipe.takeBack(), pipe.close(), times], [[], false, 1]);
});

test('a container that does not read: its input goes to the shim, and straight into the pipe again once the shim has none left', async (t) => {
  const { offer, read } = makePipe(t);
  const queue: Buffer[] = [];
  const sent = Promise.withResolvers<void>();
  let turn = Promise.withResolvers<void>();
  let closes = 0;
  const way = new StdinWay({
    send(chunk) {
      queue.push(Buffer.from(chunk));
      sent.resolve();
    },
    sendClose: () => {
      closes += 1;
    },
    queued: async () => Buffer.concat(queue).length,
    ready: () => turn.resolve(),
  });
  way.begin(262_144, offer);
  let written = 0;
  const write = (bytes: number): void => {
    assert.ok(bytes <= way.credit);
    way.write(lent(numbered(written, bytes)));
    written += bytes;
  };
  write(61_440);
  await sleep(5);
  write(61_440);
  await sent.promise;
  const behind = Buffer.concat(queue).length;
  assert.equal(behind + 65_536, written, 'the pipe has what it holds, the shim the rest');
  assert.equal(way.credit, 262_144 - behind);
  write(40_000);

  // The shim says that it has written some: it is asked, and nothing leaves before the answer.
  turn = Promise.withResolvers();
  way.credited(10_000);
  assert.equal(way.credit, 0);
  await turn.promise;
  assert.equal(way.credit, 262_144 - behind - 40_000 + 10_000, 'not empty: through the shim');

  const got = [read(), ...queue.splice(0)];
  turn = Promise.withResolvers();
  way.credited(80_000);
  await turn.promise;
  assert.equal(way.credit, PIPE_WINDOW_BYTES);
  write(20_000);
  await sleep(5);
  got.push(read());
  assert.ok(Buffer.concat(got).equals(numbered(0, written)));

  write(65_536);
  await sleep(5);
  write(30_000);
  way.close();
  assert.equal(closes, 1);
  got.push(read(), ...queue.splice(0));
  assert.ok(Buffer.concat(got).equals(numbered(0, written)), 'closing loses nothing');
});

test('single bytes that wait behind what the pipe has not taken do not keep the reads that they came with', async (t) => {
  const { offer } = makePipe(t);
  const pipe = StdinPipe.open(offer, events());
  assert.ok(pipe !== undefined);
  // As much as the kernel's pipe takes, and then some of what may wait here.
  for (const bytes of [PIPE_WINDOW_BYTES, PIPE_WINDOW_BYTES / 2]) {
    pipe.write(Buffer.alloc(bytes));
    await sleep(5);
  }
  for (let i = 0; i < 100; i++) pipe.write(Buffer.from(new ArrayBuffer(PIPE_WINDOW_BYTES)).subarray(0, 1));
  const bytes = pipe.takeBack().filter((chunk) => chunk.length === 1);
  assert.equal(bytes.length, 100);
  for (const { buffer } of bytes) assert.equal(buffer.byteLength, 1);
});
