import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readBootId, readStartTime } from './boot.ts';
import { forEachBounded } from './bounded.ts';
import { nowNs } from './clock.ts';
import { findById, newId } from './ids.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import { FileRecords } from './records.ts';
import { Transactional } from './transactional.ts';
import { allSettled, settledWithin, sleep } from './wait.ts';

test('KeyedMutex lets one in per key, in order, and forgets keys that are free', async () => {
  const mutex = new KeyedMutex();
  const order: string[] = [];
  let inside = 0;
  const work = (key: string, name: string) =>
    mutex.run(key, async () => {
      if (key === 'a') assert.equal(++inside, 1);
      await sleep(1);
      order.push(name);
      if (key === 'a') inside--;
      if (name === 'a2') throw new Error('fails alone');
    });
  const outcomes = await Promise.allSettled([work('a', 'a1'), work('a', 'a2'), work('a', 'a3'), work('b', 'b1')]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  assert.deepEqual(
    order.filter((name) => name.startsWith('a')),
    ['a1', 'a2', 'a3'],
  );
  assert.ok(order.indexOf('b1') < order.indexOf('a3'), 'another key does not wait');
  assert.equal(mutex.size, 0);
});

test('Transactional shows a change only once it is written, one after the other', async () => {
  const written: number[] = [];
  let full = false;
  const shown = (): number => cell.current.n;
  const cell: Transactional<{ readonly n: number }> = new Transactional({ n: 0 }, async ({ n }): Promise<void> => {
    assert.ok(shown() < n || full);
    await sleep(1);
    if (full) throw new Error('disk full');
    written.push(n);
  });
  await Promise.all(Array.from({ length: 10 }, () => cell.update(({ n }) => ({ n: n + 1 }))));
  assert.deepEqual(written, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  await cell.update((same) => same);
  assert.equal(written.length, 10);
  full = true;
  await assert.rejects(
    cell.update(({ n }) => ({ n: n + 1 })),
    /disk full/,
  );
  assert.equal(cell.current.n, 10);
  await assert.rejects(
    cell.update(({ n }) => ({ n: n + 1 }), { keep: true }),
    /disk full/,
  );
  assert.equal(cell.current.n, 11);
  full = false;
  assert.deepEqual(await cell.update(({ n }) => ({ n: n + 1 })), { n: 12 });
});

test('settledWithin tells settled from late, and gives up with the signal', async () => {
  assert.equal(await settledWithin(Promise.resolve(), 10_000), true);
  assert.equal(await settledWithin(Promise.reject(new Error('counts as settled')), 10_000), true);
  assert.equal(await settledWithin(new Promise(() => {}), 5), false);
  const controller = new AbortController();
  const waiting = settledWithin(new Promise(() => {}), 60_000, controller.signal);
  controller.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(settledWithin(Promise.resolve(), 1, controller.signal), /enough/);
});

test('forEachBounded does everything, never more than the limit at once, and tells the first failure', async () => {
  let running = 0;
  let most = 0;
  const done: number[] = [];
  const work = async (n: number) => {
    most = Math.max(most, ++running);
    await sleep(1);
    running--;
    done.push(n);
    if (n === 13) throw new Error('thirteen');
  };
  await forEachBounded([1, 2, 3, 4, 5, 6, 7], 3, work);
  assert.deepEqual([done.toSorted((a, b) => a - b), most], [[1, 2, 3, 4, 5, 6, 7], 3]);
  await assert.rejects(forEachBounded([13, 14, 15, 16, 17, 18], 1, work), /thirteen/);
  assert.ok(!done.includes(14), 'nothing new is begun after a failure');
});

test('FileRecords keeps what it is given and leaves no temporary file', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-unit-'));
  try {
    const records = new FileRecords(join(dir, 'r'));
    assert.deepEqual(await records.list(), []);
    const id = newId();
    await records.create(id, { a: 'ü' });
    await Promise.all(Array.from({ length: 20 }, (_, n) => records.write(id, 'status', { n }, n % 2 === 0)));
    await writeFile(join(dir, 'r', 'not-an-id'), '');
    assert.deepEqual(await records.list(), [id]);
    assert.deepEqual((await readdir(join(dir, 'r', id))).toSorted(), ['record.json', 'status.json']);
    assert.deepEqual(await records.read(id, 'record'), { a: 'ü' });
    assert.match(await readFile(join(dir, 'r', id, 'status.json'), 'utf8'), /^\{"n":\d+\}\n$/);
    await writeFile(join(dir, 'r', id, 'status.json'), '{"n":');
    assert.equal(await records.read(id, 'status'), undefined);
    await assert.rejects(records.write(newId(), 'status', {}, false), { code: 'ENOENT' });
    await records.remove(id);
    await records.remove(id);
    assert.equal(await records.read(id, 'record'), undefined);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('FileRecords clears away what was half written when the daemon was killed, and nothing else', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-unit-'));
  try {
    const id = newId();
    await new FileRecords(dir).create(id, {});
    const kept = ['exit.json', 'mine.tmp', 'record.json'];
    for (const name of ['exit.json', 'mine.tmp', 'record.json.3.tmp', 'status.json.17.tmp'])
      await writeFile(join(dir, id, name), '{');
    assert.deepEqual(await new FileRecords(dir).list(), [id]);
    assert.deepEqual((await readdir(join(dir, id))).toSorted(), kept);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('a record that cannot be read for another reason than its absence is no missing record', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-unit-'));
  try {
    const records = new FileRecords(dir);
    const id = newId();
    await records.create(id, {});
    await rm(join(dir, id, 'record.json'));
    await mkdir(join(dir, id, 'record.json'));
    await assert.rejects(records.read(id, 'record'), { code: 'EISDIR' });
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('ids are found whole or by a unique beginning', () => {
  const items = new Map([
    ['abc1', 1],
    ['abc2', 2],
    ['abc', 3],
  ]);
  assert.equal(findById(items, 'abc1', 'thing'), 1);
  assert.equal(findById(items, 'abc', 'thing'), 3, 'a whole id wins over a beginning');
  assert.throws(() => findById(items, 'ab', 'thing'), /several things/);
  assert.equal(findById(items, 'x', 'thing'), undefined);
  assert.equal(findById(items, '', 'thing'), undefined);
});

test('time only grows, also within a millisecond', () => {
  const times = Array.from({ length: 1000 }, nowNs);
  for (const [index, time] of times.entries()) assert.ok(index === 0 || time > (times[index - 1] ?? 0n));
});

test('a process is known by its start time, a boot by its id', async () => {
  const own = await readStartTime(process.pid);
  assert.match(own ?? '', /^\d+$/);
  assert.equal(await readStartTime(process.pid), own);
  assert.notEqual(await readStartTime(1), own);
  assert.equal(await readStartTime(2 ** 22 + 1), undefined);
  assert.match(await readBootId(), /^[0-9a-f-]{36}$/);
});

test('several at once: all that they give, or the first failure, once none of them goes on', async () => {
  assert.deepEqual(await allSettled([Promise.resolve(1), 'two', undefined]), [1, 'two', undefined]);
  let over = false;
  const slow = sleep(30).then(() => {
    over = true;
  });
  await assert.rejects(allSettled([slow, Promise.reject(new Error('first'))]), /first/);
  assert.equal(over, true);
});
