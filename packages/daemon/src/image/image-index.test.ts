import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toImage, type LayerRecord } from './image-index.ts';

const run = { user: '', env: [], entrypoint: [], cmd: [], workingDir: '', volumes: [], stopSignal: '', labels: {} };

const layer = (diffId: string): LayerRecord => ({
  diffId,
  directory: diffId,
  opaque: diffId.startsWith('opaque'),
  bytes: 10,
  inodes: 1,
});

const seen = (...diffIds: string[]) => toImage({ id: 'i', names: [], diffIds, run }, layer, ({ directory }) => `/${directory}`);

test('layers are listed topmost first', () => {
  assert.deepEqual(seen('a', 'b', 'c').layers, ['/c', '/b', '/a']);
});

test('a layer that comes twice is listed once, where it is highest, and counted once', () => {
  const image = seen('a', 'empty', 'b', 'empty', 'c');
  assert.deepEqual(image.layers, ['/c', '/empty', '/b', '/a']);
  assert.equal(image.size, 40);
});

test('nothing is listed below a layer that hides all', () => {
  assert.deepEqual(seen('a', 'opaque', 'b').layers, ['/b', '/opaque']);
});
