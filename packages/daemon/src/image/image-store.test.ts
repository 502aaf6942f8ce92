import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { silentLog } from '../util/log.ts';
import { openImageStore } from './image-store.ts';
import type { ImageStore } from './image.ts';
import { configOf, dockerArchive, inPieces, ociArchive, sha256, tar } from './test-archives.ts';

const base = tar({ path: 'etc/', flag: '5' }, { path: 'etc/os', data: 'base' }, { path: 'bin/sh', data: '#!', mode: 0o755 });
const extra = tar({ path: 'app', data: 'program' });
const unused = (): boolean => false;

describe('image store', () => {
  let root: string;
  let store: ImageStore;
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'berth-image-'));
    store = await openImageStore(root, silentLog);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const add = (archive: Uint8Array, ...names: string[]) => store.import(inPieces(archive), names);
  const layers = () => readdirSync(join(root, 'images', 'layers'));
  const assertNothingLeft = () => {
    assert.deepEqual(readdirSync(join(root, 'images', 'tmp')), []);
    assert.deepEqual(layers(), []);
  };

  test('a root file system has no names but those given, and an id that follows from its content', async () => {
    const image = await add(base);
    const config = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' };
    const bytes = JSON.stringify({ ...config, config: {}, rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(base)}`] } });
    assert.equal(image.id, `sha256:${sha256(Buffer.from(bytes))}`);
    assert.deepEqual(image.names, []);
    assert.equal(readFileSync(join(image.layers[0] ?? '', 'etc/os'), 'utf8'), 'base');
    assert.equal((await add(base, 'x')).id, image.id);
    assert.equal(store.list().length, 1);
    assert.equal(layers().length, 1);
  });

  test('a list of images that was half written when the daemon was killed is cleared away, and the list before it counts', async () => {
    const { id } = await add(base, 'x');
    const half = join(root, 'images', 'index.json.new');
    writeFileSync(half, '{"layers":[');
    store = await openImageStore(root, silentLog);
    assert.deepEqual(
      store.list().map((image) => image.id),
      [id],
    );
    assert.ok(!existsSync(half));
  });

  test('a list of images from before volumes were read is read; the next import of an image brings them', async () => {
    const archive = dockerArchive({ layers: [base], config: { Volumes: { '/data': {} } } });
    const { id } = await add(archive, 'x');
    const path = join(root, 'images', 'index.json');
    const now = readFileSync(path, 'utf8');
    const old = now.replace('"volumes":["/data"],', '');
    assert.notEqual(old, now);
    writeFileSync(path, old);
    store = await openImageStore(root, silentLog);
    assert.deepEqual(store.find(id)?.run.volumes, []);
    assert.deepEqual((await add(archive)).run.volumes, ['/data']);
  });

  test('plain, gzip and zstd give the same image', async () => {
    const ids = new Set<string>();
    for (const bytes of [base, gzipSync(base), zstdCompressSync(base)]) ids.add((await add(bytes)).id);
    assert.equal(ids.size, 1);
  });

  test('a docker archive brings config, layers topmost first, and its names', async () => {
    const config = {
      User: '1000:users',
      Env: ['PATH=/bin', 'A=b=c'],
      Entrypoint: ['/entry'],
      Cmd: null,
      WorkingDir: '/srv',
      Volumes: { '/data': {}, '/var/lib/x': {} },
      StopSignal: 'SIGUSR1',
      Labels: { a: 'b' },
    };
    const spec = { layers: [base, extra], config, names: ['me/app:v1', 'other.example/app:v1'] };
    for (const archive of [dockerArchive(spec), gzipSync(dockerArchive({ ...spec, compress: gzipSync }))]) {
      const image = await add(archive);
      assert.equal(image.id, `sha256:${sha256(configOf(spec))}`);
      assert.deepEqual(image.names, ['docker.io/me/app:v1', 'other.example/app:v1']);
      assert.deepEqual(image.run, {
        user: '1000:users',
        env: ['PATH=/bin', 'A=b=c'],
        entrypoint: ['/entry'],
        cmd: [],
        workingDir: '/srv',
        volumes: ['/data', '/var/lib/x'],
        stopSignal: 'SIGUSR1',
        labels: { a: 'b' },
      });
      assert.equal(image.layers.length, 2);
      assert.equal(readFileSync(join(image.layers[0] ?? '', 'app'), 'utf8'), 'program');
    }
    const bare = await add(dockerArchive({ layers: [base], config: null }));
    assert.deepEqual(bare.run, {
      user: '',
      env: [],
      entrypoint: [],
      cmd: [],
      workingDir: '',
      volumes: [],
      stopSignal: '',
      labels: {},
    });
    const odd = await add(dockerArchive({ layers: [base], config: { Volumes: { data: {}, '': {} } } }));
    assert.deepEqual(odd.run.volumes, ['/data']);
    for (const paths of [['/a\0b'], [`/${'x'.repeat(4095)}`], Array.from({ length: 257 }, (_, i) => `/${i}`)]) {
      const volumes = Object.fromEntries(paths.map((path) => [path, {}]));
      await assert.rejects(add(dockerArchive({ layers: [base], config: { Volumes: volumes } })), {
        code: 'IMAGE_ARCHIVE_DAMAGED',
        message: /config\.Volumes/,
      });
    }
    const image = await add(dockerArchive(spec), 'mine');
    assert.ok(image.names.includes('docker.io/library/mine:latest'));
  });

  test('of an OCI archive the image for this machine is taken', async () => {
    const fitting = { layers: [base, extra], names: ['x.example/app:1'], compress: (layer: Buffer) => gzipSync(layer) };
    const foreign = { layers: [base], architecture: 'sparc', names: ['x.example/app:1'] };
    const image = await add(ociArchive([foreign, { ...fitting, compress: zstdCompressSync }]));
    assert.equal(image.id, `sha256:${sha256(configOf(fitting))}`);
    assert.deepEqual(image.names, ['x.example/app:1']);
    await assert.rejects(add(ociArchive([foreign])), { code: 'IMAGE_WRONG_PLATFORM', message: /linux\/sparc.*linux\// });
    await assert.rejects(add(ociArchive([fitting, { layers: [extra] }])), { code: 'IMAGE_ARCHIVE_SEVERAL' });
    await assert.rejects(add(dockerArchive(foreign)), { code: 'IMAGE_WRONG_PLATFORM', message: /sparc/ });
  });

  test('an archive made by tar itself, with a folder in front of each member', async () => {
    const folder = mkdtempSync(join(root, 'src-'));
    writeFileSync(join(folder, 'hello'), 'world');
    const made = execFileSync('tar', ['--format=gnu', '-cz', '-C', folder, '.']);
    const image = await add(made, 'made');
    assert.equal(readFileSync(join(image.layers[0] ?? '', 'hello'), 'utf8'), 'world');
  });

  test('a file manifest.json in a root file system is just a file', async () => {
    const image = await add(tar({ path: 'manifest.json', data: '{"name":"a web app"}' }, { path: 'bin/', flag: '5' }));
    assert.ok(existsSync(join(image.layers[0] ?? '', 'manifest.json')));
  });

  test('content that is not what a digest says is refused, and nothing stays', async () => {
    const spec = { layers: [base, extra] };
    const changed = (which: string) =>
      ociArchive([spec], (path, data) => {
        if (!path.endsWith(which)) return data;
        const copy = Buffer.from(data);
        const at = copy.length > 512 ? 512 : copy.length - 1;
        copy[at] = (copy[at] ?? 0) ^ 1;
        return copy;
      });
    await assert.rejects(add(changed(sha256(extra))), { code: 'IMAGE_ARCHIVE_DAMAGED', message: /other content/ });
    assertNothingLeft();
    await assert.rejects(add(changed(sha256(configOf(spec)))), { code: 'IMAGE_ARCHIVE_DAMAGED' });
    const wrongDiffId = dockerArchive({
      layers: [base, extra],
      compress: (layer) => (layer === extra ? tar({ path: 'evil' }) : layer),
    });
    await assert.rejects(add(wrongDiffId), { code: 'IMAGE_ARCHIVE_DAMAGED', message: /config says/ });
    assertNothingLeft();
    assert.deepEqual(store.list(), []);
  });

  test('what is no archive is refused with the reason, and nothing stays', async () => {
    const cases: [Uint8Array, string, RegExp?][] = [
      [Buffer.alloc(0), 'IMAGE_ARCHIVE_EMPTY'],
      [gzipSync(Buffer.alloc(0)), 'IMAGE_ARCHIVE_EMPTY'],
      [Buffer.from('no archive at all'), 'IMAGE_ARCHIVE_UNSUPPORTED'],
      [Buffer.alloc(4096, 0x55), 'IMAGE_ARCHIVE_UNSUPPORTED'],
      [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 0]), 'IMAGE_ARCHIVE_UNSUPPORTED', /xz/],
      [Buffer.from('BZh91AY&SY'), 'IMAGE_ARCHIVE_UNSUPPORTED', /bzip2/],
      [gzipSync(base).subarray(0, 90), 'IMAGE_ARCHIVE_DAMAGED', /compressed/],
      [zstdCompressSync(base).subarray(0, 60), 'IMAGE_ARCHIVE_DAMAGED', /compressed/],
      [Buffer.concat([gzipSync(base).subarray(0, 60), Buffer.alloc(200, 0xff)]), 'IMAGE_ARCHIVE_DAMAGED'],
      [base.subarray(0, 1500), 'IMAGE_ARCHIVE_DAMAGED'],
      [dockerArchive({ layers: [] }), 'IMAGE_ARCHIVE_EMPTY'],
    ];
    for (const [bytes, code, message] of cases)
      await assert.rejects(add(bytes), message === undefined ? { code } : { code, message });
    assertNothingLeft();
  });

  test('limits end an import', async () => {
    store = await openImageStore(root, silentLog, { maxArchiveBytes: 4096, maxLayerEntries: 2, maxNames: 1 });
    await assert.rejects(add(tar({ path: 'big', data: Buffer.alloc(8192) })), { code: 'IMAGE_TOO_LARGE' });
    await assert.rejects(add(gzipSync(tar({ path: 'big', data: Buffer.alloc(1 << 20) }))), { code: 'IMAGE_TOO_LARGE' });
    await assert.rejects(add(tar({ path: 'a' }, { path: 'b' }, { path: 'c' })), { code: 'IMAGE_TOO_LARGE', message: /2 members/ });
    await assert.rejects(add(base, 'a', 'b'), { code: 'IMAGE_NAME_INVALID' });
    store = await openImageStore(root, silentLog, { maxLayerBytes: 10_000, maxLayers: 1 });
    const bomb = dockerArchive({
      layers: [tar({ path: 'zeros', data: Buffer.alloc(1 << 20) })],
      compress: (layer) => gzipSync(layer),
    });
    await assert.rejects(add(bomb), { code: 'IMAGE_TOO_LARGE', message: /10000 bytes/ });
    await assert.rejects(add(dockerArchive({ layers: [base, extra] })), { code: 'IMAGE_TOO_LARGE', message: /1 layers/ });
    assertNothingLeft();
  });

  test('a full disk is an error that says so, and nothing stays', async () => {
    const small = join(root, 'small');
    execFileSync('mkdir', [small]);
    execFileSync('/usr/bin/mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', small]);
    try {
      store = await openImageStore(small, silentLog);
      const data = Buffer.alloc(8 << 20, 'x');
      const full = { kind: 'resource-exhausted', code: 'IMAGE_NO_SPACE' };
      await assert.rejects(add(tar({ path: 'spooled', data })), full);
      await assert.rejects(
        add(dockerArchive({ layers: [tar({ path: 'unpacked', data })], compress: (layer) => gzipSync(layer) })),
        full,
      );
      assert.deepEqual(
        [readdirSync(join(small, 'images/tmp')), readdirSync(join(small, 'images/layers')), store.list()],
        [[], [], []],
      );
      assert.equal((await add(base, 'fits')).names.length, 1);
    } finally {
      execFileSync('/usr/bin/umount', [small]);
    }
  });

  test('images are found by id, beginning of an id, and name', async () => {
    const image = await add(base, 'app');
    const hex = image.id.slice('sha256:'.length);
    for (const reference of [
      image.id,
      hex,
      hex.slice(0, 4),
      `sha256:${hex.slice(0, 12)}`,
      'app',
      'app:latest',
      'docker.io/library/app',
    ]) {
      assert.equal(store.find(reference), image, reference);
    }
    for (const reference of ['app:other', hex.slice(0, 3), 'me/app', '', 'NO NAME', `sha256:${'0'.repeat(64)}`]) {
      assert.equal(store.find(reference), undefined, reference);
    }
  });

  test('the beginning of several ids is refused', async () => {
    const byStart = new Map<string, number>();
    for (let i = 0; ; i++) {
      const spec = { layers: [base], config: { Labels: { i: String(i) } } };
      const start = sha256(configOf(spec)).slice(0, 4);
      const other = byStart.get(start);
      byStart.set(start, i);
      if (other === undefined) continue;
      for (const n of [other, i]) await add(dockerArchive({ ...spec, config: { Labels: { i: String(n) } } }));
      assert.throws(() => store.find(start), { code: 'IMAGE_ID_AMBIGUOUS' });
      return;
    }
  });

  test('a name that is given again moves to the new image', async () => {
    const first = await add(base, 'app', 'kept');
    const second = await add(extra, 'app');
    assert.deepEqual(store.find('app'), second);
    assert.deepEqual(store.find(first.id)?.names, ['docker.io/library/kept:latest']);
    const again = await openImageStore(root, silentLog);
    assert.deepEqual(again.find('app'), second);
    assert.deepEqual(again.list(), store.list());
  });

  test('remove takes one name at a time, by id all, and layers only when nobody has them', async () => {
    const first = await add(dockerArchive({ layers: [base] }), 'one', 'two');
    const second = await add(dockerArchive({ layers: [base, extra] }), 'three');
    const whole = await store.usage();
    assert.equal(whole.bytes, second.size);
    await store.remove('one', unused);
    assert.deepEqual(store.find(first.id)?.names, ['docker.io/library/two:latest']);
    const asked: string[] = [];
    const inUse = (id: string) => asked.push(id) > 0;
    await assert.rejects(store.remove('two', inUse), { code: 'IMAGE_IN_USE' });
    await assert.rejects(store.remove(first.id, inUse), { code: 'IMAGE_IN_USE' });
    assert.deepEqual(asked, [first.id, first.id]);
    assert.ok(store.find('two'));
    await store.remove('two', unused);
    assert.equal(store.find(first.id), undefined);
    assert.equal(layers().length, 2);
    await store.remove(second.id, unused);
    assertNothingLeft();
    assert.equal((await store.usage()).bytes, 0);
    await store.remove('two', unused);
    await store.remove('never there', unused);
    assert.deepEqual((await openImageStore(root, silentLog)).list(), []);
  });

  test('20 imports at once that share layers, with removals in between', async () => {
    const specs = Array.from({ length: 10 }, (_, i) => ({
      layers: [base, tar({ path: `own-${i % 5}`, data: String(i % 5) })],
      config: { Labels: { i: `${i}` } },
    }));
    const imports = specs.flatMap((spec, i) => [add(dockerArchive(spec), `a${i}`), add(ociArchive([spec]), `b${i}`)]);
    const removals = specs.map(async (_, i) => {
      await imports[i * 2];
      await store.remove(`a${i}`, unused);
    });
    await Promise.all([...imports, ...removals]);
    assert.equal(store.list().length, 10);
    assert.equal(layers().length, 6);
    for (const image of store.list()) for (const layer of image.layers) assert.ok(readdirSync(layer).length > 0);
    await Promise.all(store.list().map(({ id }) => store.remove(id, unused)));
    assertNothingLeft();
  });

  test('a layer that a running import counts on stays when its image is removed', async () => {
    await add(base, 'first');
    const large = tar(...Array.from({ length: 3000 }, (_, i) => ({ path: `f${i}`, data: Buffer.alloc(2000, i) })));
    const running = add(dockerArchive({ layers: [base, large] }), 'second');
    // Its first layer is there and passed over, the second is being unpacked.
    while (!readdirSync(join(root, 'images/tmp')).some((name) => name.startsWith('l'))) await setImmediate();
    await store.remove('first', unused);
    const image = await running;
    assert.equal(readFileSync(join(image.layers[1] ?? '', 'etc/os'), 'utf8'), 'base');
    await store.remove('second', unused);
    assertNothingLeft();
  });

  test('an import that is aborted, while it waits or while it unpacks, leaves nothing', async () => {
    const waiting = new AbortController();
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield base.subarray(0, 512);
      setTimeout(() => waiting.abort(new Error('client has gone')), 5);
      await new Promise(() => {});
    }
    await assert.rejects(store.import(endless(), [], waiting.signal), /client has gone/);
    const archive = tar(...Array.from({ length: 3000 }, (_, i) => ({ path: `f${i}`, data: Buffer.alloc(2000, i) })));
    for (const ms of [0, 5, 15, 30]) {
      const unpacking = AbortSignal.timeout(ms);
      await store.import(inPieces(archive), [], unpacking).then(
        (image) => store.remove(image.id, unused),
        () => undefined,
      );
      assertNothingLeft();
    }
    await assert.rejects(store.import(inPieces(base), [], AbortSignal.abort(new Error('before it began'))), /before it began/);
  });

  test('a source that fails fails the import', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield base.subarray(0, 700);
      throw new Error('connection lost');
    }
    await assert.rejects(store.import(broken(), []), /connection lost/);
    assertNothingLeft();
  });

  test('the start clears away what no image has, and says so of an image whose layer is gone', async () => {
    const image = await add(dockerArchive({ layers: [base, extra] }), 'app');
    const kept = await add(extra, 'kept');
    const folder = join(root, 'images');
    execFileSync('mkdir', ['-p', join(folder, 'tmp/l1/x'), join(folder, 'layers/123456789abc/y')]);
    let again = await openImageStore(root, silentLog);
    assert.deepEqual(again.list(), [image, kept]);
    assert.equal(layers().length, 2);
    rmSync(image.layers[1] ?? '', { recursive: true });
    const errors: object[] = [];
    again = await openImageStore(root, { ...silentLog, error: (fields) => errors.push(fields) });
    assert.deepEqual(again.list(), [kept]);
    assert.equal(errors.length, 1);
    writeFileSync(join(folder, 'index.json'), '{"version":1');
    await assert.rejects(openImageStore(root, silentLog), { code: 'IMAGE_INDEX_DAMAGED' });
    assert.ok(existsSync(kept.layers[0] ?? ''));
  });
});
