import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LogFiles, MAX_OPEN_FILES } from './log-files.ts';

const RECORD = '2026-01-01T00:00:00.000000000Z stdout F line\n';
/** What one record holds. */
const BYTES = 5;

type Place = Parameters<LogFiles['borrow']>[0];

/** A log that is rotated: every file has one record, and offsets count on. */
class Rotated implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'berth-log-files-'));
  readonly path = join(this.folder, '0.log');
  /** Below this offset nobody wants anything. */
  needed = 0;
  readonly files = new LogFiles(this.path, () => this.needed);
  readonly places: Place[] = [];

  async write(): Promise<void> {
    writeFileSync(this.path, RECORD);
    await this.files.pin();
    const first = this.places.length * BYTES;
    this.places.push({ ...this.id(this.path), kind: 'log', first, end: first + BYTES, position: 0 });
    await this.files.settle(first);
  }

  id(path: string): { inode: bigint; device: bigint } {
    const stat = statSync(path, { bigint: true });
    return { inode: stat.ino, device: stat.dev };
  }

  /** Away with the file, and so, where the file system likes, with its inode. */
  async rotate(): Promise<void> {
    renameSync(this.path, `${this.path}.1`);
    await this.write();
  }

  /** Files of the log that this process has open. */
  get open(): number {
    return readdirSync('/proc/self/fd').filter((fd) => targetOf(fd).startsWith(this.folder)).length;
  }

  async holds(at: number): Promise<boolean> {
    const place = this.places[at];
    assert.ok(place !== undefined);
    const file = await this.files.borrow(place);
    if (file === undefined) return false;
    const stat = await file.handle.stat({ bigint: true });
    assert.deepEqual([stat.ino, stat.dev], [place.inode, place.device]);
    file.release();
    return true;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

function targetOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

test('files that a session still needs stay open over any number of rotations, and are closed when all are past them', async () => {
  using log = new Rotated();
  await log.write();
  for (let n = 0; n < 40; n++) await log.rotate();
  assert.equal(log.open, 41);
  for (let n = 0; n < 41; n++) assert.ok(await log.holds(n), `file ${n}`);

  log.needed = 30 * BYTES;
  await log.rotate();
  assert.equal(log.open, 12, 'of 42 files 30 are passed');
  assert.ok(!(await log.holds(29)));
  assert.ok(await log.holds(30));

  // The reader goes on without a rotation: what it gives back is not kept for the next one.
  const place = log.places[30];
  assert.ok(place !== undefined);
  const lent = await log.files.borrow(place);
  log.needed = 41 * BYTES;
  lent?.release();
  while (log.open > 1) await sleep(1);
  await log.files.close();
  assert.equal(log.open, 0);
});

test('beyond the limit the oldest goes, and the newest are kept', async () => {
  using log = new Rotated();
  await log.write();
  for (let n = 1; n < MAX_OPEN_FILES + 3; n++) await log.rotate();
  assert.equal(log.open, MAX_OPEN_FILES);
  for (let n = 3; n < MAX_OPEN_FILES + 3; n++) assert.ok(await log.holds(n), `file ${n}`);
  await log.files.close();
});

test('a file that was given the inode later is not lent out', async () => {
  using log = new Rotated();
  await log.write();
  const place = { kind: 'log', first: 0, end: 2 * BYTES, ...log.id(log.path) } as const;
  const lent = async (where: Place): Promise<boolean> => {
    const file = await log.files.borrow(where);
    file?.release();
    return file !== undefined;
  };
  assert.equal(await lent({ ...place, position: RECORD.length }), false, 'it ends where the output is to begin');
  appendFileSync(log.path, RECORD);
  assert.equal(await lent({ ...place, position: 0 }), true);
  assert.equal(await lent({ ...place, first: BYTES, position: RECORD.length }), true);
  assert.equal(await lent({ ...place, end: 200, position: 0 }), false, 'it is shorter than what was written');
  assert.equal(await lent({ ...place, position: 1 }), false, 'no record begins there');

  // As the compressed copy of another rotated file, beside the log.
  const packed = `${log.path}.2.gz`;
  writeFileSync(packed, Buffer.alloc(1000, 0x1f));
  assert.equal(await lent({ ...place, ...log.id(packed), position: 0 }), false);
  await log.files.close();
});
