import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolders, makeOwnFolder } from './folders.ts';

test('folders are made with those above them, also by several at once', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-unit-'));
  try {
    await Promise.all(['a/b/c', 'a/b/d', 'a/b/c'].map((path) => makeFolders(join(dir, path), 0o700)));
    assert.equal((await stat(join(dir, 'a/b'))).mode & 0o777, 0o700);
    await makeFolders(`${dir}/a/b/c/`, 0o700);
    await symlink('a', join(dir, 'link'));
    await makeFolders(join(dir, 'link/b'), 0o700);
    await makeFolders('/', 0o700);
    await writeFile(join(dir, 'file'), '');
    await assert.rejects(makeFolders(join(dir, 'file'), 0o700), { code: 'EEXIST' });
    await assert.rejects(makeFolders(join(dir, 'file/x/y'), 0o700), { code: 'ENOTDIR' });
  } finally {
    await rm(dir, { recursive: true });
  }
});

// Node's own mkdir never comes back from there.
test('where no folder can be made, that is said, and soon', { timeout: 20_000 }, async () => {
  await assert.rejects(makeFolders('/proc/berth/x/y', 0o700), { code: 'ENOENT' });
  await assert.rejects(makeOwnFolder('root folder', '/proc/berth', 0o700), {
    code: 'FOLDER_UNUSABLE',
    message: "the root folder /proc/berth cannot be made: ENOENT: no such file or directory, mkdir '/proc/berth'",
  });
});
