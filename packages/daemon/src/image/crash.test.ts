import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../util/log.ts';
import { openImageStore } from './image-store.ts';
import type { Image } from './image.ts';
import { dockerArchive, tar } from './test-archives.ts';

const IMPORTER = fileURLToPath(new URL('test-importer.ts', import.meta.url));
const KILLS = 20;
const FILES = 300;

/** A layer of which one can see whether it is whole. */
const layer = (name: string): Buffer =>
  tar(...Array.from({ length: FILES }, (_, i) => ({ path: `${name}/${i}`, data: `${name} ${i}`.repeat(200) })), {
    path: `.wh.${name}-gone`,
  });

function assertWhole(image: Image): void {
  for (const path of image.layers) {
    const name = readdirSync(path).find((entry) => !entry.endsWith('-gone')) ?? '';
    assert.deepEqual(readdirSync(path).toSorted(), [name, `${name}-gone`]);
    for (let i = 0; i < FILES; i++) assert.equal(readFileSync(join(path, name, String(i)), 'utf8'), `${name} ${i}`.repeat(200));
  }
}

test('a daemon killed at any moment of imports and removals leaves a consistent store', async () => {
  const root = mkdtempSync(join(tmpdir(), 'berth-crash-'));
  try {
    const [shared, ...own] = ['shared', 'a', 'b', 'c'].map(layer);
    assert.ok(shared);
    const archives = own.map((mine, i) => {
      const path = join(root, `${i}.tar`);
      writeFileSync(path, dockerArchive({ layers: [shared, mine] }));
      return path;
    });
    let found = 0;
    let leftovers = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const child = spawn(process.execPath, [...process.execArgv, IMPORTER, root, ...archives], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(child, 'exit');
      // At any step of a round of three imports and three removals, however fast the machine is.
      let steps = Math.floor(Math.random() * 5);
      for await (const _ of createInterface(child.stdout)) if (steps-- === 0) break;
      await sleep(Math.random() * 100);
      child.kill('SIGKILL');
      await ended;
      leftovers += readdirSync(join(root, 'images/tmp')).length;

      const store = await openImageStore(root, silentLog);
      const images = store.list();
      found += images.length;
      for (const image of images) assertWhole(image);
      const names = images.flatMap((image) => image.names);
      assert.equal(new Set(names).size, names.length);
      const expected = new Set(images.flatMap(({ layers }) => layers.map((path) => path.split('/').at(-1))));
      assert.deepEqual(new Set(readdirSync(join(root, 'images/layers'))), expected);
      assert.deepEqual(readdirSync(join(root, 'images/tmp')), []);
    }
    // Else the kills have hit nothing that matters.
    assert.ok(found > 0 && leftovers > 0, `${found} images, ${leftovers} leftovers in ${KILLS} kills`);
    console.log(`${KILLS} kills: ${found} images found whole, ${leftovers} leftovers cleared away`);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
