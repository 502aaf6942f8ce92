import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeHeader, parseHeader, parsePax, type TarEntry } from './tar-header.ts';
import { nextEntry, streamSource } from './tar-reader.ts';
import { member, tar, type Member } from './test-archives.ts';

async function* once(data: Buffer, size = data.length || 1): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function entries(data: Buffer, size?: number): Promise<TarEntry[]> {
  const source = streamSource(once(data, size));
  const all: TarEntry[] = [];
  for (let entry = await nextEntry(source); entry !== undefined; entry = await nextEntry(source)) {
    all.push(entry);
    await source.skip(Math.ceil(entry.size / 512) * 512);
  }
  return all;
}

const rejects = (data: Buffer, message: RegExp) => assert.rejects(entries(data), (error: Error) => message.test(error.message));

test('members come with all headers applied, whatever the pieces are', async () => {
  const archive = tar(
    { path: 'dir/', flag: '5', mode: 0o1777, uid: 7, gid: 8 },
    { path: 'dir/file', data: 'x'.repeat(513), mode: 0o4755, mtime: 5 },
    { path: `long/${'n'.repeat(200)}`, data: 'y' },
    { path: 'short', data: 'z', pax: { path: 'other/\u00ff', mtime: '-3.5', uid: '3000000', 'SCHILY.xattr.user.a': 'b\0c\n=' } },
    { path: 'hard', flag: '1', link: 'dir/file', size: 513 },
    { path: 'soft', flag: '2', link: '../x' },
    { path: 'null', flag: '3', device: [1, 3] },
  );
  for (const size of [undefined, 1, 511, 513, 7000]) {
    const found = await entries(archive, size);
    assert.deepEqual(
      found.map(({ path, type, size: bytes }) => [path, type, bytes]),
      [
        ['dir/', 'dir', 0],
        ['dir/file', 'file', 513],
        [`long/${'n'.repeat(200)}`, 'file', 1],
        ['other/\u00ff', 'file', 1],
        ['hard', 'link', 0],
        ['soft', 'symlink', 0],
        ['null', 'char', 0],
      ],
    );
    assert.deepEqual([found[0]?.mode, found[0]?.uid, found[0]?.gid], [0o1777, 7, 8]);
    assert.deepEqual([found[3]?.mtime, found[3]?.uid, found[3]?.xattrs.get('user.a')], ['-3.5', 3_000_000, 'b\0c\n=']);
    assert.deepEqual([found[6]?.devMajor, found[6]?.devMinor, found[5]?.linkPath], [1, 3, '../x']);
  }
});

test('base-256 numbers are read', () => {
  const block = member({ path: 'a' }).subarray(0, 512);
  block.fill(0, 124, 136);
  block[124] = 0x80;
  block.writeBigUInt64BE(0x2_0000_0001n, 128);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((a, byte) => a + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  assert.equal(parseHeader(block).size, 0x2_0000_0001);
});

test('what is written reads the same', async () => {
  const samples: TarEntry[] = [
    {
      path: './a',
      type: 'file',
      mode: 0o6755,
      uid: 0,
      gid: 5,
      size: 0,
      mtime: '12',
      linkPath: '',
      devMajor: 0,
      devMinor: 0,
      xattrs: new Map(),
    },
    {
      path: `./${'d'.repeat(98)}/${'e\u00ff'.repeat(100)}`,
      type: 'symlink',
      mode: 0o777,
      uid: 4_000_000_000,
      gid: 3_000_000,
      size: 0,
      mtime: '-5.123456789',
      linkPath: 'l'.repeat(3000),
      devMajor: 0,
      devMinor: 0,
      xattrs: new Map([['trusted.overlay.opaque', 'y']]),
    },
  ];
  for (const sample of samples) assert.deepEqual(await entries(encodeHeader(sample)), [sample]);
});

test('records of 9, 10, 99 and 100 bytes carry their own length', () => {
  for (const size of [1, 2, 3, 88, 89, 90, 91, 92, 93, 990, 991, 992, 993]) {
    const value = 'v'.repeat(size);
    const path = 'p'.repeat(101) + value;
    const header = encodeHeader({
      path,
      type: 'dir',
      mode: 0,
      uid: 0,
      gid: 0,
      size: 0,
      mtime: '0',
      linkPath: '',
      devMajor: 0,
      devMinor: 0,
      xattrs: new Map([['user.x', value]]),
    });
    const records = parsePax(header.subarray(512, 512 + parseHeader(header).size));
    assert.deepEqual([records.get('path'), records.get('SCHILY.xattr.user.x')], [path, value]);
  }
});

test('damaged archives are refused', async () => {
  const good = tar({ path: 'a', data: 'hello' });
  const flipped = Buffer.from(good);
  flipped[3] = 0x41;
  await rejects(flipped, /checksum/);
  await rejects(good.subarray(0, 700), /in the middle/);
  await rejects(good.subarray(0, 100), /in the middle|checksum/);
  await rejects(Buffer.concat([Buffer.alloc(512), good]), /empty block/);
  const wrongPax: Member = { path: 'x', flag: 'x', data: '99 path=b\n' };
  await rejects(tar(wrongPax, { path: 'a' }), /wrong record/);
  await rejects(tar({ path: 'x', flag: 'x', data: '8 pathb\n' }, { path: 'a' }), /wrong record/);
  await rejects(tar({ path: 'a', pax: { size: '-1' } }), /size/);
  await rejects(tar({ path: 'a', pax: { mtime: '1e9' } }), /mtime/);
  await rejects(member({ path: 'x', flag: 'x', size: 2 ** 30 }), /longer than/);
});

test('what cannot be unpacked faithfully is refused by name', async () => {
  await rejects(tar({ path: 'a', flag: 'S' }), /sparse/);
  await rejects(tar({ path: 'a', pax: { 'GNU.sparse.major': '1' } }), /sparse/);
  await rejects(tar({ path: 'a', flag: 'M' }), /volume/);
  await rejects(tar({ path: 'a', flag: 'Z' }), /unknown type "Z"/);
});
