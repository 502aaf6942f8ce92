/** Resolving inside a hostile root filesystem: nothing outside is ever looked at or made. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { BerthError } from '../util/errors.ts';
import { ContainerTree, normalise } from './resolve.ts';

/** Until the swap is met in all its ways: a moment, unless the one that swaps sleeps. */
const MEET_MS = 30_000;

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
    assert.equal(found.path, `${top}/outside/made`);
    assert.ok(lstatSync(`${root}${top}/outside/made`).isDirectory());
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
    assert.equal((await tree.resolve('x', '/data/sub', 'directory')).mount?.target, '/data');
    assert.ok(lstatSync(`${top}/volume/sub`).isDirectory());
    const made = await tree.resolve('x', '/data/link/made', 'file');
    assert.deepEqual([made.path, made.mount, made.known], ['/etc/made', undefined, true]);
    assert.ok(lstatSync(`${root}/etc/made`).isFile());
    assert.equal(existsSync('/etc/made'), false);
  });

  test('below a mount that exists only in the running container nothing is looked at', async () => {
    const tree = new ContainerTree(root);
    tree.mount({ target: '/dev', host: undefined });
    assert.deepEqual(await tree.resolve('x', '/dev/fuse', 'file'), {
      path: '/dev/fuse',
      mount: { target: '/dev', host: undefined },
      known: false,
      stats: undefined,
    });
  });

  test('a later mount covers an earlier one, also one that is below it', async () => {
    const tree = new ContainerTree(root);
    for (const [name, target] of [
      ['inner', '/data/sub'],
      ['outer', '/data'],
    ] as const) {
      mkdirSync(`${top}/${name}`);
      writeFileSync(`${top}/${name}/file`, name);
      tree.mount({ target, host: `${top}/${name}` });
    }
    mkdirSync(`${top}/outer/sub`);
    writeFileSync(`${top}/outer/sub/file`, 'covers');
    assert.equal(await tree.readText('x', '/data/sub/file', 100), 'covers');
  });

  test('reads files and nothing else, no longer ones than it is told', async () => {
    writeFileSync(`${root}/etc/passwd`, 'text');
    symlinkSync('/etc/passwd', `${root}/link`);
    const tree = new ContainerTree(root);
    assert.equal(await tree.readText('x', '/link', 4), 'text');
    assert.equal(await tree.readText('x', '/etc', 4), '');
    assert.equal(await tree.readText('x', '/none', 4), '');
    await assert.rejects(tree.readText('x', '/link', 3), /^BerthError: x: \/link is larger than 3 bytes$/);
  });

  test('a path through very many directories is refused, and no descriptor is left open by anything', async () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    const before = open();
    const tree = new ContainerTree(root);
    await assert.rejects(tree.resolve('x', '/a'.repeat(257), 'directory'), /more than 256 directories/);
    await assert.rejects(
      tree.resolve('x', `/${'a'.repeat(300)}`, 'file'),
      /^BerthError: x: \/a+ cannot be looked at.*ENAMETOOLONG$/,
    );
    await tree.resolve('x', '/a'.repeat(256), 'directory');
    assert.equal(open(), before);
  });

  test('a directory that a container swaps with a link all the time leads nowhere else', { timeout: 120_000 }, async () => {
    const volume = `${top}/volume`;
    mkdirSync(`${volume}/flip`, { recursive: true });
    symlinkSync(`${top}/outside`, `${volume}/other`);
    const tree = new ContainerTree(root);
    tree.mount({ target: '/v', host: volume });
    const flipper = spawn('/usr/bin/perl', ['-e', FLIP, `${volume}/flip`, `${volume}/other`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(flipper.stdout, 'data');
      const seen = { directory: 0, link: 0, changed: 0 };
      const deadline = performance.now() + MEET_MS;
      const met = (): boolean => seen.directory > 0 && seen.link > 0 && seen.changed > 0;
      for (let n = 0; n < 2_000 || (!met() && performance.now() < deadline); n++) {
        try {
          const { path } = await tree.resolve('x', `/v/flip/${n}`, n % 2 === 0 ? 'file' : 'directory');
          seen[path === `/v/flip/${n}` ? 'directory' : 'link']++;
        } catch (error) {
          assert.ok(error instanceof BerthError && error.code === 'PATH_CHANGED', String(error));
          seen.changed++;
        }
      }
      assert.ok(met(), `the swap was not met: ${JSON.stringify(seen)}`);
      assert.deepEqual(readdirSync(`${top}/outside`), []);
    } finally {
      flipper.kill('SIGKILL');
      await once(flipper, 'close');
    }
  });
});

/** renameat2(2) with RENAME_EXCHANGE, which neither Node nor the shells have: the one rename that swaps a directory and a link at once. */
const FLIP = `
  my $renameat2 = { x64 => 316, arm64 => 276 }->{'${process.arch}'};
  my ($one, $other) = @ARGV;
  syscall($renameat2, -100, $one, -100, $other, 2) == 0 or die "renameat2: $!";
  syswrite STDOUT, "flipping\n";
  syscall($renameat2, -100, $one, -100, $other, 2) while 1;
`;

test('normalise works by text alone', () => {
  assert.equal(normalise('//a/./b/../c/'), '/a/c');
  assert.equal(normalise('/../..'), '/');
});
