import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { exitRecordPath, spareRecordPath } from '../runtime/runtime.ts';
import { readExitRecord } from './exit-record.ts';

const ID = 'c'.repeat(64);

const text = (code: number, more: object = {}): string =>
  JSON.stringify({
    kind: 'exited',
    code,
    signal: 0,
    oom: false,
    offset: '1',
    startedAt: '2',
    finishedAt: '3',
    drained: true,
    reason: '',
    ...more,
  });

test('a record is read where the shim could write it, and held to the same form in both places', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-record-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const folders = { root: join(dir, 'root'), state: join(dir, 'state') };
  const [first, spare] = [exitRecordPath(folders.root, ID), spareRecordPath(folders.state, ID)];
  const code = async (): Promise<number | undefined> => (await readExitRecord(folders, ID))?.code;

  assert.equal(await code(), undefined, 'neither folder is there');
  for (const path of [first, spare]) mkdirSync(dirname(path), { recursive: true });
  assert.equal(await code(), undefined);
  writeFileSync(spare, text(7));
  assert.deepEqual(await readExitRecord(folders, ID), {
    kind: 'exited',
    code: 7,
    signal: 0,
    oom: false,
    offset: 1n,
    startedAtNs: 2n,
    finishedAtNs: 3n,
    drained: true,
    reason: '',
  });
  for (const damaged of ['', '{', text(256), text(7, { kind: 'fine' }), text(7, { offset: '-1' })]) {
    writeFileSync(spare, damaged);
    assert.equal(await code(), undefined, damaged);
  }
  writeFileSync(spare, text(7));
  writeFileSync(first, text(8));
  assert.equal(await code(), 8, 'the lasting one counts');
  writeFileSync(first, '{"kind":');
  assert.equal(await code(), 7, 'a damaged one counts as none');
});
