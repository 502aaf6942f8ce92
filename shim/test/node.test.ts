/** `berth-shim node` without LXC: a node in a root's /dev, and no way out of that. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SHIM, SKIP } from './support/container.ts';

const options = { skip: SKIP };

test('node: type, number, mode and owner as asked; links and mounts are no way out of /dev', options, () => {
  const root = mkdtempSync(join(tmpdir(), 'berth-node-'));
  const [log, dev, outside] = [join(root, 'log'), join(root, 'dev'), join(root, 'outside')];
  for (const path of [dev, outside]) mkdirSync(path);
  writeFileSync(log, 'LXC was here\n');
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dev]);
  execFileSync('mount', ['--make-private', dev]);
  try {
    for (const path of ['mount', 'directory']) mkdirSync(join(dev, path));
    writeFileSync(join(dev, 'file'), '');
    symlinkSync('../outside', join(dev, 'link'));
    execFileSync('mount', ['--bind', outside, join(dev, 'mount')]);
    const node = (...words: string[]): number | null =>
      spawnSync('/bin/sh', ['-c', 'umask 077; exec "$@"', 'sh', SHIM, 'node', log, ...words, 'name', 'lxc', 'autodev'], {
        env: { LXC_ROOTFS_MOUNT: root },
      }).status;
    const show = (path: string): string =>
      execFileSync('stat', ['-c', '%F %t:%T %a %u:%g', join(dev, path)], { encoding: 'utf8' }).trimEnd();

    for (const wrong of [
      ['p', '1', '3', '438', '0', '0'],
      ['c', '4294967296', '3', '438', '0', '0'],
      ['c', '1', '-3', '438', '0', '0'],
      ['c', '1', '3', '4096', '0', '0'],
      ['c', '1', '3', '438', 'root', '0'],
    ])
      assert.equal(node(...wrong, 'x'), 64, wrong.join(' '));

    const make = (path: string): number | null => node('c', '1', '3', '438', '1', '2', path);
    assert.equal(make('null'), 0);
    assert.equal(show('null'), 'character special file 1:3 666 1:2');
    assert.equal(node('b', '4095', '1048575', '384', '0', '6', 'a/b/c d'), 0);
    assert.equal(show('a/b/c d'), 'block special file fff:fffff 600 0:6');
    assert.equal(statSync(join(dev, 'a/b')).mode & 0o777, 0o755);

    for (const [path, reason] of [
      ['link/x', /make \/dev\/link\/x: (Symbolic link loop|Too many levels of symbolic links|Not a directory)$/],
      ['mount/x', /make \/dev\/mount\/x: (Cross-device link|Invalid cross-device link)$/],
      ['../outside/x', /make \/dev\/\.\.\/outside\/x: (Cross-device link|Invalid cross-device link)$/],
      ['null/x', /make \/dev\/null\/x: Not a directory$/],
      ['directory', /make \/dev\/directory: File exists$/],
    ] as const) {
      assert.equal(make(path), 1, path);
      assert.match(readFileSync(log, 'utf8').trimEnd(), reason);
    }
    assert.match(readFileSync(log, 'utf8'), /^LXC was here\nberth-shim node - ERROR /);
    assert.deepEqual(readdirSync(outside), []);
    // What covers a place is mounted there already.
    assert.equal(make('file'), 0);
    assert.equal(show('file').startsWith('regular empty file'), true);
  } finally {
    execFileSync('umount', ['-R', '-l', dev]);
    rmSync(root, { recursive: true });
  }
});
