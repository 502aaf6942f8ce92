/** What waits for a container is the arbiter's own: the memory that it came in is used again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ShimIo } from './shim.ts';
import { StdinArbiter, type StdinWriter } from './stdin-arbiter.ts';

/** A container that takes what it has room for, and an arbiter in front of it. */
function waiting(credit: number): {
  readonly arbiter: StdinArbiter;
  readonly taken: () => string;
  /** Room that nobody is told of yet. */
  readonly more: (bytes: number) => void;
  readonly room: (bytes: number) => void;
} {
  const taken: string[] = [];
  let left = credit;
  const io: Pick<ShimIo, 'stdin' | 'closeStdin' | 'stdinCredit' | 'stdinOpen'> = {
    get stdinCredit() {
      return left;
    },
    stdinOpen: true,
    stdin: (chunk) => {
      assert.ok(chunk.length <= left);
      left -= chunk.length;
      taken.push(Buffer.from(chunk).toString());
    },
    closeStdin: () => taken.push('.'),
  };
  const arbiter = new StdinArbiter(io as ShimIo);
  return {
    arbiter,
    taken: () => taken.splice(0).join(''),
    more: (bytes) => {
      left += bytes;
    },
    room: (bytes) => {
      left += bytes;
      arbiter.credit();
    },
  };
}

const read = Buffer.alloc(64);

/** Writes as a connection does whose next read comes into the same memory. */
function write(writer: StdinWriter, text: string): boolean {
  const took = writer.write(read.subarray(0, read.write(text)));
  read.fill('#');
  return took;
}

test('what is taken in part, and what waits behind it, stays as it was, in order', () => {
  const { arbiter, taken, room } = waiting(2);
  const writer = arbiter.writer(() => undefined);
  assert.deepEqual([write(writer, 'abcd'), write(writer, 'ef')], [false, false]);
  writer.closeStdin();
  assert.equal(taken(), 'ab');
  room(3);
  assert.equal(taken(), 'cde');
  assert.equal(writer.flushed, false);
  room(10);
  assert.equal(taken(), 'f.');
  assert.equal(writer.flushed, true);
});

test("one that writes from within `ready`, in the middle of another one's write, changes nothing of either", () => {
  const { arbiter, taken, more, room } = waiting(0);
  let told = 0;
  const first: StdinWriter = arbiter.writer(() => {
    told += 1;
    if (told > 1) return;
    // Nothing is read from any connection meanwhile.
    assert.equal(first.write(Buffer.from('behind')), false);
  });
  const second = arbiter.writer(() => undefined);
  assert.equal(write(first, 'ab'), false);
  more(3);
  assert.equal(write(second, 'cd'), false);
  assert.equal(taken(), 'abc');
  room(20);
  assert.equal(taken(), 'dbehind');
});

test('once stdin is closed nothing waits any more', () => {
  const { arbiter, taken, room } = waiting(1);
  let ready = 0;
  const writer = arbiter.writer(() => {
    ready += 1;
  });
  assert.equal(write(writer, 'abc'), false);
  arbiter.closed();
  assert.equal(ready, 1);
  assert.equal(write(writer, 'de'), true);
  room(10);
  assert.equal(taken(), 'a');
});
