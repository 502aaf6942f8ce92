/** Resolving inside a hostile root filesystem: nothing outside is ever looked at or made. */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import { ContainerTree, normalise } from './resolve.ts';

describe('ContainerTree', () => {
  let top = '';
  let root = '';
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'resolve-'));
    root = `${top}/root`;
    mkdirSync(`${root}/etc`, { recursive: true });
    mkdirSync(`${top}/outside`);
  });
  afterEach(() => rmSync(top, { recursive: true }));

  test('follows a link that stays inside', async () => {
    mkdirSync(`${root}/run`);
    mkdirSync(`${root}/var`);
    symlinkSync('/run', `${root}/var/run`);
    const found = await new ContainerTree(root).resolve('mount', '/var/run/secrets', 'directory');
    assert.equal(found.path, '/run/secrets');
    assert.ok(lstatSync(`${root}/run/secrets`).isDirectory());
  });

  test('makes what a dangling link points to, inside', async () => {
    symlinkSync('../run/systemd/resolv.conf', `${root}/etc/resolv.conf`);
    const found = await new ContainerTree(root).resolve('mount', '/etc/resolv.conf', 'file');
    assert.equal(found.path, '/run/systemd/resolv.conf');
    assert.ok(lstatSync(`${root}/run/systemd/resolv.conf`).isFile());
  });

  test('an absolute link to the outside ends inside the root', async () => {
    symlinkSync(`${top}/outside`, `${root}/data`);
    const found = await new ContainerTree(root).resolve('mount', '/data/made', 'directory');
    assert.equal(found.host, `${root}${top}/outside/made`);
    assert.deepEqual(readdirSync(`${top}/outside`), []);
  });

  test('.. in a link or path stops at the root', async () => {
    symlinkSync('../../../../../../../../outside', `${root}/data`);
    const tree = new ContainerTree(root);
    assert.equal((await tree.resolve('mount', '/data/x', 'file')).path, '/outside/x');
    assert.equal((await tree.resolve('mount', '/../../etc/../..')).path, '/');
    assert.deepEqual(readdirSync(`${top}/outside`), []);
  });

  test('a loop is refused', async () => {
    symlinkSync('b', `${root}/a`);
    symlinkSync('a', `${root}/b`);
    await assert.rejects(new ContainerTree(root).resolve('mounts[0].container_path', '/a/x'), (error: unknown) => {
      assert.ok(error instanceof BerthError);
      assert.equal(error.kind, 'invalid-argument');
      assert.match(error.message, /^mounts\[0\]\.container_path: too many symbolic links/);
      return true;
    });
  });

  test('a path through a file is refused, a NUL byte too', async () => {
    writeFileSync(`${root}/etc/passwd`, '');
    const tree = new ContainerTree(root);
    await assert.rejects(tree.resolve('x', '/etc/passwd/y', 'directory'), /\/etc\/passwd is not a directory/);
    await assert.rejects(tree.resolve('x', '/etc/\0'), /NUL/);
    await assert.rejects(tree.resolve('x', `/${'a'.repeat(5000)}`), /too long/);
  });

  test('without create nothing is made', async () => {
    const found = await new ContainerTree(root).resolve('x', '/no/such/thing');
    assert.equal(found.stats, undefined);
    assert.equal(existsSync(`${root}/no`), false);
  });

  test('below a mount the volume is looked at, and its absolute links restart at the container root', async () => {
    mkdirSync(`${top}/volume`);
    symlinkSync('/etc', `${top}/volume/link`);
    const tree = new ContainerTree(root);
    tree.mount({ target: '/data', host: `${top}/volume` });
    assert.equal((await tree.resolve('x', '/data/sub', 'directory')).host, `${top}/volume/sub`);
    assert.equal((await tree.resolve('x', '/data/link/made', 'file')).host, `${root}/etc/made`);
    assert.equal(existsSync('/etc/made'), false);
  });

  test('below a mount that exists only in the running container nothing is looked at', async () => {
    const tree = new ContainerTree(root);
    tree.mount({ target: '/dev', host: undefined });
    assert.deepEqual(await tree.resolve('x', '/dev/fuse', 'file'), { path: '/dev/fuse', host: undefined, stats: undefined });
  });
});

test('normalise works by text alone', () => {
  assert.equal(normalise('//a/./b/../c/'), '/a/c');
  assert.equal(normalise('/../..'), '/');
});
