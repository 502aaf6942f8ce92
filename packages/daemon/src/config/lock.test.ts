import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
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
