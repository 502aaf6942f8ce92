/** The mount table: who is on which mount, and what is below. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountOf, mountsBelow, parseMountinfo } from './mountinfo.ts';

const TABLE = parseMountinfo(
  [
    '27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw',
    '40 27 0:30 / /data rw,relatime master:5 - tmpfs t rw',
    '41 40 0:31 / /data/a\\040b rw - tmpfs t rw',
    '42 40 0:32 / /data/sub rw shared:7 master:2 - tmpfs t rw',
    '43 42 0:33 / /data/sub/deep rw - tmpfs t rw',
    '44 27 0:34 / /database rw - tmpfs t rw',
    Buffer.from('45 27 0:35 / /ü rw - tmpfs t rw').toString('latin1'),
    '46 27 0:36 / /data rw shared:9 - tmpfs over rw',
  ].join('\n'),
);

test('the mount of a path is the last one over the longest prefix', () => {
  assert.equal(mountOf(TABLE, '/etc')?.id, 27);
  assert.equal(mountOf(TABLE, '/data/x')?.id, 46);
  assert.equal(mountOf(TABLE, '/data/sub/x')?.id, 42);
  assert.equal(mountOf(TABLE, '/database/x')?.id, 44);
  assert.equal(mountOf(TABLE, '/data/a b')?.id, 41);
  assert.equal(mountOf(TABLE, '/ü/x')?.id, 45);
});

test('propagation tags', () => {
  assert.deepEqual([mountOf(TABLE, '/')?.shared, mountOf(TABLE, '/')?.slave], [true, false]);
  assert.deepEqual([mountOf(TABLE, '/data/sub')?.shared, mountOf(TABLE, '/data/sub')?.slave], [true, true]);
  assert.deepEqual([mountOf(TABLE, '/database')?.shared, mountOf(TABLE, '/database')?.slave], [false, false]);
});

test('mounts below, parents first, siblings with the same beginning left out', () => {
  assert.deepEqual(mountsBelow(TABLE, '/data'), ['/data/a b', '/data/sub', '/data/sub/deep']);
  assert.ok(mountsBelow(TABLE, '/').includes('/database'));
});
