// Memory of reads: used again only when nobody looks at it, never more of it than allowed, small where little comes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadBuffers } from './read-buffers.ts';

const SMALL = 4 * 1024;
const READ = 64 * 1024;
const SLAB = 256 * 1024;

/** A connection that reads `bytes` of output at a time, and says what memory they came in. */
class Connection {
  released = 0;
  end = 0;
  readonly buffers = new ReadBuffers((_, to) => to > this.released);

  /** @param space where it goes: asked for now, or before something else happened */
  read(bytes: number, space = this.buffers.space): Buffer {
    assert.ok(space.length >= bytes, `room for ${bytes}: ${space.length}`);
    space.fill(1 + (this.end % 251), 0, bytes);
    const chunk = this.buffers.filled(space, bytes);
    this.end += bytes;
    this.buffers.output(this.end - bytes, this.end);
    this.buffers.passed(bytes);
    return chunk;
  }

  /** Reads until slabs are used. */
  warm(): void {
    this.read(SMALL);
  }
}

const memories = (chunks: readonly Buffer[]): number => new Set(chunks.map((chunk) => chunk.buffer)).size;

test('while everything is released at once, two slabs do', () => {
  const connection = new Connection();
  connection.warm();
  const chunks: Buffer[] = [];
  for (let i = 0; i < 200; i++) {
    chunks.push(connection.read(READ));
    connection.released = connection.end;
  }
  assert.ok(memories(chunks) <= 2, `${memories(chunks)} slabs`);
});

test('what is not released stays as it was, however much comes behind it', () => {
  const connection = new Connection();
  connection.warm();
  const kept = Array.from({ length: 100 }, () => {
    const value = 1 + (connection.end % 251);
    return { value, chunk: connection.read(READ) };
  });
  for (const { value, chunk } of kept) assert.ok(chunk.every((byte) => byte === value));
  assert.equal(memories(kept.map(({ chunk }) => chunk)), 100 / (SLAB / READ));
});

test('a slab is used again only when all of its output is released', () => {
  const connection = new Connection();
  connection.warm();
  const first = Array.from({ length: SLAB / READ }, () => connection.read(READ));
  connection.released = connection.end - 1;
  const second = Array.from({ length: SLAB / READ }, () => connection.read(READ));
  assert.notEqual(second[0]?.buffer, first[0]?.buffer);
  assert.notEqual(connection.buffers.space.buffer, first[0]?.buffer);
  connection.released = connection.end;
  for (const _ of second) connection.read(READ);
  assert.equal(connection.buffers.space.buffer, first[0]?.buffer);
});

test('memory that somebody holds for long does not keep others from being used again', () => {
  const held = { from: 0, to: 0 };
  const buffers = new ReadBuffers((from, to) => from < held.to && to > held.from);
  let end = 0;
  const read = (bytes: number): Buffer => {
    const chunk = buffers.filled(buffers.space, bytes);
    end += bytes;
    buffers.output(end - bytes, end);
    buffers.passed(bytes);
    return chunk;
  };
  read(SMALL);
  [held.from, held.to] = [end, end + SLAB + 1];
  const before = Array.from({ length: (2 * SLAB) / READ }, () => read(READ));
  const behind = Array.from({ length: 100 }, () => read(READ));
  assert.equal(memories(before), 2);
  assert.ok(behind.every(({ buffer }) => before.every((chunk) => chunk.buffer !== buffer)));
  assert.ok(memories(behind) <= 2, `${memories(behind)} slabs`);
});

test('after `forget` nothing that was read before is used again', () => {
  const connection = new Connection();
  connection.warm();
  const before = Array.from({ length: 6 }, () => connection.read(READ));
  connection.buffers.forget();
  connection.released = Number.MAX_SAFE_INTEGER;
  const old = new Set(before.map((chunk) => chunk.buffer));
  connection.warm();
  for (let i = 0; i < 50; i++) assert.ok(!old.has(connection.read(READ).buffer));
});

test('small reads get memory of their size, and after a loud time a connection becomes quiet again', () => {
  const connection = new Connection();
  for (let i = 0; i < 20; i++) {
    const chunk = connection.read(100);
    assert.equal(chunk.buffer.byteLength, 100);
    assert.ok(chunk.every((byte) => byte === chunk[0]));
  }
  connection.warm();
  assert.equal(connection.buffers.space.length, SLAB);
  while (connection.buffers.space.length > SMALL) connection.read(1_000);
  assert.equal(connection.read(10).buffer.byteLength, 10);
});

test('a connection that is told to rest while it passes a large read on stays quiet', () => {
  const connection = new Connection();
  connection.warm();
  const { space } = connection.buffers;
  connection.buffers.filled(space, READ);
  connection.buffers.rest();
  connection.buffers.output(0, READ);
  connection.buffers.passed(READ);
  assert.equal(connection.buffers.space.length, SMALL);
});

test('a resting connection gives up its slabs, and another one finds those that are released', () => {
  const [one, other] = [new Connection(), new Connection()];
  one.warm();
  const chunks = Array.from({ length: 6 }, () => one.read(READ));
  one.released = one.end;
  one.buffers.rest();
  assert.equal(one.buffers.space.length, SMALL);
  other.warm();
  assert.ok(chunks.some((chunk) => chunk.buffer === other.buffers.space.buffer));
});

for (const way of ['rest', 'forget'] as const)
  test(`a read that was under way before \`${way}\` brings what came, in memory that nobody else gets`, () => {
    const [one, other] = [new Connection(), new Connection()];
    one.warm();
    one.read(READ);
    const { space } = one.buffers;
    one.buffers[way]();
    const value = 1 + (one.end % 251);
    const chunk = one.read(100, space);
    assert.equal(chunk.length, 100);
    assert.ok(chunk.every((byte) => byte === value));
    assert.equal(one.buffers.space.length, SMALL, 'quiet again');
    one.released = Number.MAX_SAFE_INTEGER;
    one.warm();
    other.warm();
    for (let i = 0; i < 50; i++) {
      assert.notEqual(one.read(READ).buffer, chunk.buffer);
      assert.notEqual(other.read(READ).buffer, chunk.buffer);
    }
    assert.ok(chunk.every((byte) => byte === value));
  });
