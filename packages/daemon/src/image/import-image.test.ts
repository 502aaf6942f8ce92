import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { type ImportRequest, ImportRequestSchema } from '@berth/cri-api/berth';
import { silentLog } from '../util/log.ts';
import { ensureDefaultImage } from './default-image.ts';
import { openImageStore } from './image-store.ts';
import type { ImageStore } from './image.ts';
import { importImage, MAX_IMPORT_CHUNK_BYTES } from './import-image.ts';
import { inPieces, tar } from './test-archives.ts';

const SCRIPT = fileURLToPath(new URL('../../../../scripts/default-image.mjs', import.meta.url));

describe('bringing images in', () => {
  let root: string;
  let store: ImageStore;
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'berth-import-'));
    store = await openImageStore(root, silentLog);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const start = (...names: string[]): ImportRequest => create(ImportRequestSchema, { part: { case: 'start', value: { names } } });
  const chunk = (bytes: Uint8Array): ImportRequest => create(ImportRequestSchema, { part: { case: 'chunk', value: bytes } });

  async function* requests(...messages: ImportRequest[]): AsyncGenerator<ImportRequest> {
    yield* messages;
  }

  test('an import is a start and chunks', async () => {
    const archive = tar({ path: 'x', data: 'y'.repeat(3000) });
    const pieces = (await Array.fromAsync(inPieces(archive, 1000))).map(chunk);
    const answer = await importImage(requests(start('app', 'x.y/app:1'), ...pieces, chunk(Buffer.alloc(0))), store);
    const image = store.find('app');
    assert.ok(image);
    assert.deepEqual(answer, { id: image.id, names: ['docker.io/library/app:latest', 'x.y/app:1'], size: BigInt(image.size) });
  });

  test('anything else is refused', async () => {
    const wrong = { code: 'IMAGE_IMPORT_ORDER' };
    await assert.rejects(importImage(requests(), store), wrong);
    await assert.rejects(importImage(requests(chunk(tar())), store), wrong);
    await assert.rejects(importImage(requests(start(), start()), store), wrong);
    await assert.rejects(importImage(requests(create(ImportRequestSchema)), store), wrong);
    await assert.rejects(importImage(requests(start('NO')), store), { code: 'IMAGE_NAME_INVALID' });
    const large = chunk(Buffer.alloc(MAX_IMPORT_CHUNK_BYTES + 1));
    await assert.rejects(importImage(requests(start(), large), store), { code: 'IMAGE_IMPORT_CHUNK' });
    assert.deepEqual(readdirSync(join(root, 'images/tmp')), []);
  });

  test('the default image: the same bytes each time, imported once, and it runs', async () => {
    const [one, two] = [join(root, 'one.tar'), join(root, 'two.tar')];
    for (const out of [one, two]) execFileSync(process.execPath, [SCRIPT, out]);
    execFileSync('cmp', [one, two]);
    const own = await store.import(inPieces(tar({ path: 'x' })), ['busybox']);
    const image = await ensureDefaultImage(store, one);
    assert.equal(await ensureDefaultImage(store, two), image);
    assert.deepEqual(image.names, ['berth.local/busybox:latest']);
    assert.equal(store.find('busybox')?.id, own.id);
    await store.remove('busybox', () => false);
    await store.remove(image.id, () => false);
    const again = await ensureDefaultImage(store, one);
    assert.equal(store.find('busybox'), again);
    assert.deepEqual(again.run.cmd, ['sh']);
    const script = 'readlink /var/run; readlink /bin/vi; stat -c %a /tmp; id -un; wc -l < /etc/group';
    const said = execFileSync('/usr/sbin/chroot', [again.layers[0] ?? '', '/bin/sh', '-c', script], {
      encoding: 'utf8',
      env: { PATH: '/bin' },
    });
    assert.deepEqual(said.split('\n'), ['/run', 'busybox', '1777', 'root', '6', '']);
    await assert.rejects(ensureDefaultImage(store, join(root, 'none')), {
      code: 'DEFAULT_IMAGE_UNREADABLE',
      message: /none.*ENOENT/,
    });
  });

  test('what cannot become the default image is refused in words', () => {
    for (const [path, words] of [
      ['/bin/sh', /not static|no ELF/],
      [SCRIPT, /no ELF/],
    ] as const) {
      assert.throws(
        () => execFileSync(process.execPath, [SCRIPT, join(root, 'out'), path], { stdio: 'pipe' }),
        (error: Error & { stderr?: Buffer }) => words.test(String(error.stderr)),
      );
      assert.ok(!readdirSync(root).includes('out'));
    }
  });
});
