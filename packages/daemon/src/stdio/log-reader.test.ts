import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { type FileHandle, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LogDamaged, logMemory, readLog } from './log-reader.ts';

const TIME = '2026-11-24T17:14:00.123456789Z';
const NEWLINE = 0x0a;
const MAX_CONTENT = 16 * 1024;

type Log = {
  readonly bytes: Buffer;
  readonly streams: Buffer;
  readonly file: Buffer;
  readonly records: { offset: number; position: number }[];
};

/** Output of both streams, binary, in pieces of all sizes, as the shim writes it down. */
function randomLog(count: number, longest: number): Log {
  const [bytes, streams, file]: [Buffer[], Buffer[], Buffer[]] = [[], [], []];
  const records: { offset: number; position: number }[] = [];
  let [offset, position] = [0, 0];
  for (let i = 0; i < count; i += 1) {
    const stream = randomInt(4) === 0 ? 2 : 1;
    const full = randomInt(3) > 0;
    const content = randomBytes(randomInt(full ? 0 : 1, longest + 1)).map((byte) => (byte === NEWLINE ? 0 : byte));
    const record = Buffer.concat([
      Buffer.from(`${TIME} ${stream === 1 ? 'stdout' : 'stderr'} ${full ? 'F' : 'P'} `),
      content,
      Buffer.from('\n'),
    ]);
    const output = full ? Buffer.concat([content, Buffer.from('\n')]) : Buffer.from(content);
    records.push({ offset, position });
    bytes.push(output);
    streams.push(Buffer.alloc(output.length, stream));
    file.push(record);
    offset += output.length;
    position += record.length;
  }
  return { bytes: Buffer.concat(bytes), streams: Buffer.concat(streams), file: Buffer.concat(file), records };
}

async function withFile(content: Buffer, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-log-reader-'));
  try {
    await writeFile(join(dir, 'log'), content);
    const handle = await open(join(dir, 'log'));
    try {
      await use(handle);
    } finally {
      await handle.close();
    }
  } finally {
    await rm(dir, { recursive: true });
  }
}

for (const [title, count, longest] of [
  ['short lines', 20_000, 100],
  ['around the length where the way of copying changes', 4_000, 400],
  ['long records', 200, MAX_CONTENT],
] as const) {
  test(`every stretch of a log gives the bytes and streams that were written: ${title}`, async () => {
    const log = randomLog(count, longest);
    await withFile(log.file, async (file) => {
      for (let i = 0; i < 12; i += 1) {
        const record = log.records[i === 0 ? 0 : randomInt(log.records.length)]!;
        const from = i === 0 ? 0 : Math.min(log.bytes.length, record.offset + randomInt(0, longest * 3));
        const until = i < 3 ? log.bytes.length : Math.max(from, randomInt(from, log.bytes.length + 1));
        let at = from;
        for await (const piece of readLog(
          file,
          record.position,
          record.offset,
          from,
          until,
          logMemory((_, to) => to > at),
        )) {
          assert.equal(piece.offset, at);
          assert.ok(piece.data.equals(log.bytes.subarray(at, at + piece.data.length)), `bytes at ${at}`);
          assert.ok(
            log.streams.subarray(at, at + piece.data.length).every((stream) => stream === piece.stream),
            `streams at ${at}`,
          );
          at += piece.data.length;
        }
        assert.equal(at, until);
      }
    });
  });
}

test('pieces stay what they are while more is read', async () => {
  const log = randomLog(30_000, 100);
  await withFile(log.file, async (file) => {
    const pieces: Buffer[] = [];
    const memory = logMemory(() => true);
    for await (const piece of readLog(file, 0, 0, 0, log.bytes.length, memory)) pieces.push(piece.data);
    assert.ok(Buffer.concat(pieces).equals(log.bytes));
  });
});

test('memory is used again once its pieces are released: two blocks do for who takes each piece at once', async () => {
  const log = randomLog(30_000, 100);
  await withFile(log.file, async (file) => {
    const memories = new Set<ArrayBufferLike>();
    let taken = 0;
    for await (const { data, offset } of readLog(
      file,
      0,
      0,
      0,
      log.bytes.length,
      logMemory((_, to) => to > taken),
    )) {
      memories.add(data.buffer);
      taken = offset + data.length;
    }
    assert.ok(log.bytes.length > 8 * 128 * 1024);
    assert.ok(memories.size <= 2, `${memories.size} blocks`);
  });
});

test('who stops in the middle of a block keeps what it was given until that is released', async () => {
  const log = randomLog(30_000, 100);
  await withFile(log.file, async (file) => {
    let released = 0;
    const memory = logMemory((_, to) => to > released);
    const kept: { readonly data: Buffer; readonly offset: number }[] = [];
    for await (const piece of readLog(file, 0, 0, 0, log.bytes.length, memory)) {
      kept.push(piece);
      if (kept.length === 3) break;
    }
    // Everything before the last piece has been taken; the memory of all three is the same.
    const last = kept[2]!;
    released = last.offset;
    // What is read next is something else, or nobody would see that it was read to the same place.
    const other = log.records[log.records.length >> 1]!;
    for await (const _ of readLog(file, other.position, other.offset, other.offset, log.bytes.length, memory));
    assert.ok(last.data.equals(log.bytes.subarray(last.offset, last.offset + last.data.length)));
    assert.equal(new Set(kept.map(({ data }) => data.buffer)).size, 1);
  });
});

test('a log that ends early, a record of another form and one without an end are damage, and said', async () => {
  const good = Buffer.from(`${TIME} stdout F hello\n`);
  const damaged: readonly [string, Buffer, RegExp][] = [
    ['ends early', good, /ends at offset 6, before 12/],
    ['half a record', Buffer.concat([good, good.subarray(0, 30)]), /ends at offset 6, before 12/],
    ['another stream', Buffer.concat([good, Buffer.from(`${TIME} stdxxx F hello\n`)]), /another form/],
    ['another kind', Buffer.concat([good, Buffer.from(`${TIME} stdout X hello\n`)]), /another form/],
    ['no record', Buffer.concat([good, Buffer.from(`${'x'.repeat(60)}\n`)]), /another form/],
    ['no end', Buffer.concat([good, Buffer.alloc(200_000, 'x')]), /no end|ends at/],
  ];
  for (const [title, content, message] of damaged) {
    await withFile(content, async (file) => {
      const seen: string[] = [];
      await assert.rejects(
        async () => {
          for await (const piece of readLog(
            file,
            0,
            0,
            0,
            12,
            logMemory(() => true),
          ))
            seen.push(piece.data.toString());
        },
        (error: unknown) => error instanceof LogDamaged && message.test(error.message),
        title,
      );
    });
  }
});
