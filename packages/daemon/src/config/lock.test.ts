import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readBootId, readStartTime } from '../util/boot.ts';
import { lockRoot, lockState } from './lock.ts';

/** Above the most that the kernel gives. */
const NOBODY = 4_194_305;

test('one folder can be root and state; each lock is held once, goes with its holder, and names it meanwhile', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-lock-'));
  try {
    {
      await using _root = await lockRoot(dir);
      await using _state = await lockState(dir);
      const message = new RegExp(`in use by another berthd \\(pid ${process.pid}\\)`);
      await assert.rejects(lockRoot(dir), { code: 'ROOT_LOCKED', message });
      await assert.rejects(lockState(dir), { code: 'STATE_LOCKED', message });
    }
    assert.deepEqual(await readdir(dir), []);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('what daemons have left that were killed while they took the lock is cleared away, and nothing else', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-lock-'));
  try {
    const kept = [`berthd.lock.${process.ppid}`, 'berthd.lock.old', `other.lock.${NOBODY}`].toSorted();
    for (const name of [...kept, `berthd.lock.${NOBODY}`, `berthd.lock.stale.${NOBODY}`]) await writeFile(join(dir, name), '');
    await (await lockRoot(dir))[Symbol.asyncDispose]();
    assert.deepEqual((await readdir(dir)).toSorted(), kept);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('the lock of a daemon that is dead is taken over, also the file that it was before; that of one that lives is not', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-lock-'));
  const path = join(dir, 'berthd.lock');
  const holder = async (pid: number): Promise<string> => `${pid} ${(await readStartTime(pid)) ?? '1'} ${await readBootId()}`;
  const ways = [(text: string) => symlink(text, path), (text: string) => writeFile(path, `${text}\n`)];
  try {
    for (const make of ways) {
      await make(await holder(process.ppid));
      await assert.rejects(lockRoot(dir), { code: 'ROOT_LOCKED', message: new RegExp(`\\(pid ${process.ppid}\\)`) });
      await rm(path);
      await make(await holder(NOBODY));
      await (await lockRoot(dir))[Symbol.asyncDispose]();
      assert.deepEqual(await readdir(dir), []);
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});
