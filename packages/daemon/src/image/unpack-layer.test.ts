import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits } from './limits.ts';
import { inPieces, member, sha256, tar, type Member } from './test-archives.ts';
import { unpackLayer, type UnpackedLayer } from './unpack-layer.ts';

const file = (path: string, data = path, rest: Partial<Member> = {}): Member => ({ path, data, ...rest });
const dir = (path: string, rest: Partial<Member> = {}): Member => ({ path, flag: '5', ...rest });
const link = (path: string, target: string): Member => ({ path, flag: '2', link: target });

async function* buffers(bytes: Uint8Array): AsyncGenerator<Buffer> {
  for await (const piece of inPieces(bytes)) yield Buffer.from(piece);
}

describe('unpacking a layer', () => {
  let base: string;
  let count = 0;
  const mounts: string[] = [];
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'berth-layer-'));
  });
  afterEach(() => {
    for (const mount of mounts.splice(0)) execFileSync('/usr/bin/umount', [mount]);
    rmSync(base, { recursive: true, force: true });
  });

  const newDir = (): string => {
    const path = join(base, `d${++count}`);
    mkdirSync(path, { mode: 0o755 });
    return path;
  };

  async function unpack(bytes: Uint8Array, limits: Partial<ImageLimits> = {}): Promise<UnpackedLayer & { path: string }> {
    const path = newDir();
    return { path, ...(await unpackLayer(buffers(bytes), path, { ...DEFAULT_IMAGE_LIMITS, ...limits })) };
  }

  /** What a container sees of layers given lowest first. */
  async function mounted(...layers: Buffer[]): Promise<string> {
    const paths: string[] = [];
    for (const layer of layers) paths.unshift((await unpack(layer)).path);
    const [upper, work, merged] = [newDir(), newDir(), newDir()];
    execFileSync('/usr/bin/mount', [
      '-t',
      'overlay',
      'overlay',
      '-o',
      `lowerdir=${paths.join(':')},upperdir=${upper},workdir=${work}`,
      merged,
    ]);
    mounts.push(merged);
    return merged;
  }

  const tree = (root: string): string[] => (readdirSync(root, { recursive: true }) as string[]).toSorted();

  test('owners, modes, times, links and devices are as the archive says', async () => {
    const layer = tar(
      dir('./', { mode: 0o750, mtime: 1000 }),
      dir('d', { mode: 0o1777, uid: 1000, gid: 1001, mtime: 2000 }),
      file('d/setuid', 'x', { mode: 0o4755, uid: 5, mtime: 3000 }),
      { path: 'hard', flag: '1', link: 'd/setuid' },
      link('soft', '/etc/passwd'),
      { path: 'null', flag: '3', device: [1, 3], mode: 0o666 },
      { path: 'loop', flag: '4', device: [7, 9] },
      { path: 'fifo', flag: '6' },
      file('implied/by/name'),
    );
    const before = process.umask(0o077);
    const { path, diffId, opaque, inodes } = await unpack(layer).finally(() => process.umask(before));
    const at = (name: string) => lstatSync(join(path, name));
    assert.equal(diffId, sha256(layer));
    assert.equal(opaque, false);
    assert.equal(inodes, 10);
    assert.deepEqual([at('.').mode & 0o7777, at('.').mtimeMs], [0o750, 1_000_000]);
    assert.deepEqual([at('d').mode & 0o7777, at('d').uid, at('d').gid, at('d').mtimeMs], [0o1777, 1000, 1001, 2_000_000]);
    assert.deepEqual([at('hard').mode & 0o7777, at('hard').uid, at('hard').nlink], [0o4755, 5, 2]);
    assert.ok(at('soft').isSymbolicLink());
    assert.deepEqual(
      [at('null').rdev, at('loop').rdev, at('loop').isBlockDevice(), at('fifo').isFIFO()],
      [0x103, 0x709, true, true],
    );
    assert.deepEqual([at('implied').mode & 0o7777, at('implied/by').uid], [0o755, 0]);
  });

  test('a name that is no UTF-8, and a long one, come through byte for byte', async () => {
    const names = ['bad\xff\xfe', `${'n'.repeat(150)}\xff`, `d/${'\xc3\xbc'.repeat(80)}`];
    const { path } = await unpack(tar(...names.map((name) => file(name, 'x'))));
    const found = readdirSync(Buffer.from(path), { recursive: true, encoding: 'buffer' }) as unknown as Buffer[];
    for (const name of names)
      assert.ok(
        found.some((entry) => entry.toString('latin1').endsWith(name.slice(name.indexOf('/') + 1))),
        name,
      );
  });

  test('a later member replaces an earlier one', async () => {
    const members = [
      link('a', 'x'),
      dir('a'),
      file('a/x', 'one'),
      file('a/x', 'two'),
      link('l', '/one'),
      link('l', '/one'),
      link('f', 'x'),
      file('f'),
    ];
    const { path } = await unpack(tar(...members));
    assert.ok(lstatSync(join(path, 'a')).isDirectory());
    assert.equal(readFileSync(join(path, 'a/x'), 'utf8'), 'two');
    assert.equal(readlinkSync(join(path, 'l')), '/one');
    assert.equal(readFileSync(join(path, 'f'), 'utf8'), 'f');
  });

  test('attributes that mean something inside are kept, those that could steer the host are not', async () => {
    const pax = (xattrs: Record<string, string>) =>
      Object.fromEntries(Object.entries(xattrs).map(([k, v]) => [`SCHILY.xattr.${k}`, v]));
    const capability = '\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
    const { path } = await unpack(
      tar(
        file('ping', 'x', { pax: pax({ 'security.capability': capability, 'user.note': 'a\0b' }) }),
        dir('d', { pax: pax({ 'trusted.overlay.opaque': 'y', 'trusted.overlay.redirect': '/etc', 'security.selinux': 'x' }) }),
      ),
    );
    // Asked of tar, which is on every machine that can unpack at all.
    const attributes = (name: string): string[] => {
      const archive = execFileSync('tar', ['-c', '--format=posix', '--xattrs', '--xattrs-include=*', '-C', path, name], {
        encoding: 'latin1',
      });
      return [...archive.matchAll(/ SCHILY\.xattr\.([^=]+=(?:a\0b|[^\n]*))/g)].map((match) => match[1] ?? '').toSorted();
    };
    assert.deepEqual(attributes('ping'), [`security.capability=${capability}`, 'user.note=a\0b']);
    assert.deepEqual(attributes('d'), []);
  });

  test('whiteouts hide what is below, through a real overlay mount', async () => {
    const lower = tar(
      dir('d'),
      file('d/gone'),
      file('d/stays'),
      dir('whole'),
      file('whole/x'),
      file('whole/y'),
      file('top'),
      file('\xff\xfe'),
    );
    const upper = tar(file('d/.wh.gone', ''), file('.wh.whole', ''), file('.wh.top', ''), file('.wh.\xff\xfe', ''), file('new'));
    assert.deepEqual(tree(await mounted(lower, upper)), ['d', 'd/stays', 'new']);
  });

  test('an opaque directory shows only what its own layer has', async () => {
    const lower = tar(dir('a'), file('a/old'), dir('b'), file('b/old'), dir('c/d'), file('c/d/old'));
    // The mark before the directory, after it, and without it.
    const upper = tar(
      file('a/.wh..wh..opq', ''),
      dir('a', { mode: 0o700, mtime: 4000 }),
      file('a/new'),
      dir('b'),
      file('b/new'),
      file('b/.wh..wh..opq', ''),
      file('c/d/.wh..wh..opq', ''),
    );
    const root = await mounted(lower, upper);
    assert.deepEqual(tree(root), ['a', 'a/new', 'b', 'b/new', 'c', 'c/d']);
    assert.deepEqual([statSync(join(root, 'a')).mode & 0o777, statSync(join(root, 'a')).mtimeMs], [0o700, 4_000_000]);
  });

  test('what a layer both hides and has shows, alone', async () => {
    const lower = tar(dir('d'), file('d/old'), file('f', 'old'));
    for (const order of [1, -1]) {
      const members = [file('.wh.d', ''), file('.wh.f', ''), dir('d'), file('d/new'), file('f', 'new')];
      const root = await mounted(
        lower,
        tar(...(order === 1 ? members : members.toReversed().toSorted((a) => (a.flag === '5' ? -1 : 0)))),
      );
      assert.deepEqual(tree(root), ['d', 'd/new', 'f']);
      assert.equal(readFileSync(join(root, 'f'), 'utf8'), 'new');
    }
  });

  test('a layer that hides all below it says so', async () => {
    assert.equal((await unpack(tar(file('.wh..wh..opq', ''), file('x')))).opaque, true);
  });

  test('bookkeeping of AUFS is dropped', async () => {
    const { path } = await unpack(tar(dir('.wh..wh.plnk'), file('.wh..wh.aufs', ''), file('x')));
    assert.deepEqual(tree(path), ['x']);
  });

  test('nothing is written outside of the layer', async () => {
    const outside = newDir();
    const refused: [string, Member[]][] = [
      ['dot dot', [file('../evil')]],
      ['dot dot inside', [file('a/../../evil')]],
      ['absolute link', [link('l', outside), file('l/evil')]],
      ['relative link', [link('l', `../${outside.split('/').at(-1)}`), file('l/evil')]],
      ['link below', [dir('a'), link('a/l', outside), dir('a/l/b'), file('a/l/b/evil')]],
      ['link to a link', [link('one', 'two'), link('two', outside), file('one/evil')]],
      ['link to a link, other order', [link('two', outside), link('one', 'two'), file('one/evil')]],
      ['hard link out', [{ path: 'h', flag: '1', link: `../${outside.split('/').at(-1)}/secret` }]],
      ['hard link through a link', [link('l', outside), { path: 'h', flag: '1', link: 'l/secret' }, file('h', 'evil')]],
      [
        'hard link to a link, then written',
        [link('l', join(outside, 'evil')), { path: 'h', flag: '1', link: 'l' }, file('h/x', 'evil')],
      ],
      ['a link, then a directory in its place', [link('l', outside), dir('l'), file('l/evil')]],
      ['a link, then another', [link('l', outside), link('l', '/etc')]],
      ['a link, then a file in its place', [link('l', outside), file('l', 'x')]],
      ['whiteout of dot dot', [file('a/.wh...', '')]],
      ['whiteout of nothing', [file('a/.wh.', '')]],
      ['whiteout behind a link', [link('l', outside), file('l/.wh.secret', '')]],
      ['whiteout behind a later link', [file('l/.wh.new', ''), link('l', outside)]],
      ['opaque link', [file('l/.wh..wh..opq', ''), link('l', outside)]],
      ['whiteout below a file', [file('f'), file('f/.wh.x', '')]],
      ['the root as a link', [link('./', outside), file('evil')]],
      ['NUL by PAX', [file('x', 'x', { pax: { path: 'a\0b' } })]],
      ['dot dot by PAX', [file('x', 'x', { pax: { path: '../evil' } })]],
      ['name too long', [file('n'.repeat(300))]],
      ['path too long', [file('d/'.repeat(2100) + 'x')]],
    ];
    writeFileSync(join(outside, 'secret'), 'host');
    for (const [what, members] of refused) {
      await assert.rejects(
        unpack(tar(...members)),
        (error: Error & { code?: string }) => /^IMAGE_(LAYER_|ARCHIVE_DAM)/.test(error.code ?? ''),
        what,
      );
      assert.deepEqual(readdirSync(outside), ['secret'], what);
      assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'host', what);
      assert.equal(statSync(join(outside, 'secret')).nlink, 1, what);
    }
    assert.ok(!existsSync(join(base, 'evil')));
  });

  test('leading slashes and dots mean the root of the layer', async () => {
    const { path } = await unpack(tar(file('/abs'), file('./dot'), { path: 'hard', flag: '1', link: '/abs' }));
    assert.deepEqual(tree(path), ['abs', 'dot', 'hard']);
  });

  test('links that stay inside may be unpacked through', async () => {
    const { path } = await unpack(tar(dir('usr/lib'), link('lib', 'usr/lib'), file('lib/so', 'code')));
    assert.equal(readFileSync(join(path, 'usr/lib/so'), 'utf8'), 'code');
  });

  test('a layer of 500 MB passes through bounded memory', async () => {
    const [pieces, size] = [2000, 256 * 1024];
    const block = randomBytes(size);
    const head = member({ path: 'big', size: pieces * size }).subarray(0, 512);
    let highest = 0;
    async function* huge(): AsyncGenerator<Buffer> {
      yield head;
      for (let i = 0; i < pieces; i++) {
        // A new buffer each time, as from a network: what is kept would be seen.
        const piece = Buffer.from(block);
        piece.writeUInt32LE(i);
        if (i % 20 === 0) highest = Math.max(highest, process.memoryUsage().rss);
        yield piece;
      }
      yield Buffer.alloc(1024);
    }
    const before = process.memoryUsage().rss;
    const path = newDir();
    const { bytes } = await unpackLayer(huge(), path, DEFAULT_IMAGE_LIMITS);
    assert.equal(statSync(join(path, 'big')).size, pieces * size);
    assert.ok(bytes >= pieces * size);
    assert.ok(highest - before < 200 * 1024 * 1024, `memory grew by ${(highest - before) >> 20} MiB`);
    console.log(`500 MB layer: memory grew by ${(highest - before) >> 20} MiB`);
  });
});
