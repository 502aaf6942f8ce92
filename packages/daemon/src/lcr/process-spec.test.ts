/** Commands and environments by the rules of images and CRI. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { ContainerConfigSchema } from '@berth/cri-api';
import type { ImageRunConfig } from '../image/image.ts';
import { containerArgv, processSpec } from './process-spec.ts';

const image = (changes: Partial<ImageRunConfig> = {}): ImageRunConfig => ({
  user: '',
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: '',
  volumes: [],
  stopSignal: '',
  labels: {},
  ...changes,
});
const config = (changes: object = {}) => Object.assign(create(ContainerConfigSchema), { command: ['x'] }, changes);
const env = (changes: object, run: Partial<ImageRunConfig> = {}) =>
  processSpec(config(changes), image(run), 'host', '/home').env.map(String);
const variable = (key: string, value: string | Uint8Array) => ({ key, value: Buffer.from(value) });

describe('containerArgv', () => {
  test('command and args against entrypoint and cmd', () => {
    const run = image({ entrypoint: ['e'], cmd: ['c'] });
    assert.deepEqual(containerArgv({ command: [], args: [] }, run), ['e', 'c']);
    assert.deepEqual(containerArgv({ command: [], args: ['a'] }, run), ['e', 'a']);
    assert.deepEqual(containerArgv({ command: ['k'], args: [] }, run), ['k']);
    assert.deepEqual(containerArgv({ command: ['k'], args: ['a', ''] }, run), ['k', 'a', '']);
    assert.deepEqual(containerArgv({ command: [], args: ['a'] }, image()), ['a']);
  });

  test('nothing to run is refused', () => {
    assert.throws(() => containerArgv({ command: [], args: [] }, image()), /command/);
    assert.throws(() => containerArgv({ command: [''], args: [] }, image()), /command/);
    assert.throws(() => containerArgv({ command: ['a\0b'], args: [] }, image()), /NUL/);
  });
});

describe('environment', () => {
  test('defaults', () => {
    const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    assert.deepEqual(env({}), [path, 'HOSTNAME=host', 'HOME=/home']);
    assert.deepEqual(env({ tty: true }), [path, 'HOSTNAME=host', 'TERM=xterm', 'HOME=/home']);
  });

  test('image, then request; the later one wins in place', () => {
    assert.deepEqual(
      env(
        { envs: [variable('A', '2'), variable('N', ''), variable('A', '3')] },
        { env: ['A=1', 'PATH=/x', 'HOME=/h', 'broken', '=x'] },
      ),
      ['PATH=/x', 'HOSTNAME=host', 'A=3', 'HOME=/h', 'N='],
    );
  });

  test('values are bytes', () => {
    const list = processSpec(config({ envs: [variable('B', Buffer.from([0xff, 0x0a, 0x80]))] }), image(), 'host', '/').env;
    assert.deepEqual(list[2], Buffer.from([0x42, 0x3d, 0xff, 0x0a, 0x80]));
  });

  test('bad names and NUL bytes are refused', () => {
    for (const bad of [variable('', 'x'), variable('A=B', 'x'), variable('A\0', 'x'), variable('A', 'x\0')])
      assert.throws(() => env({ envs: [bad] }), /envs/);
  });
});

test('the working directory must be absolute', () => {
  assert.equal(processSpec(config(), image({ workingDir: '/w' }), 'h', '/').cwd, '/w');
  assert.equal(processSpec(config({ workingDir: '/v' }), image({ workingDir: '/w' }), 'h', '/').cwd, '/v');
  assert.throws(() => processSpec(config({ workingDir: 'v' }), image(), 'h', '/'), /working_dir/);
});

test('the first size of the terminal comes from an annotation, and must be one', () => {
  const size = (text: string) => processSpec(config({ annotations: { 'io.berth.terminal-size': text } }), image(), 'h', '/').size;
  assert.equal(processSpec(config(), image(), 'h', '/').size, undefined);
  assert.deepEqual(size('77x25'), { columns: 77, rows: 25 });
  assert.deepEqual(size('65535x1'), { columns: 65535, rows: 1 });
  for (const wrong of ['', '80', '0x24', '80x0', '65536x24', '80x24x', '-1x24', ' 80x24', '80X24'])
    assert.throws(() => size(wrong), /annotations\[io\.berth\.terminal-size\]: /, wrong);
});
