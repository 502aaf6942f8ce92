/** `berth-shim bind` without LXC: a mount of ours in another mount namespace, as a peer. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SHIM, SKIP, until } from './support/container.ts';

const options = { skip: SKIP };

test('bind: peers on both sides; what is wrong mounts nothing and says why in the log', options, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-bind-'));
  const [log, source, target] = [join(dir, 'log'), join(dir, 'source'), join(dir, 'target')];
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dir]);
  execFileSync('mount', ['--make-private', dir]);
  // What unshare(1) makes is private through and through, as a container's namespace is when LXC has made it.
  for (const path of [source, target, join(source, 'ours'), join(source, 'theirs')]) mkdirSync(path);
  symlinkSync('target', join(dir, 'link'));
  writeFileSync(log, 'LXC was here\n');
  execFileSync('mount', ['--bind', source, source]);
  execFileSync('mount', ['--make-shared', source]);
  const other = spawn('unshare', ['--mount', 'sh', '-c', 'echo made; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await new Promise((resolve) => other.stdout.once('data', resolve));
    const pid = String(other.pid);
    const bind = (LXC_PID: string, ...words: string[]): number | null =>
      spawnSync(SHIM, ['bind', ...words, 'name', 'lxc', 'start-host'], { env: { LXC_PID } }).status;
    const inside = (...command: string[]): string => execFileSync('nsenter', ['-t', pid, '-m', ...command], { encoding: 'utf8' });
    const before = inside('cat', '/proc/self/mountinfo');

    assert.equal(bind(pid, log, source, target), 64);
    assert.equal(bind(pid, log, source, target, 'rx'), 64);
    const reasons: readonly (readonly [string, string, string, RegExp])[] = [
      ['', source, target, /share LXC_PID: Invalid argument$/],
      ['1x', source, target, /share LXC_PID: Invalid argument$/],
      [pid, join(dir, 'none'), target, /share \S+\/none: No such file or directory$/],
      [pid, source, join(dir, 'none'), /share \S+\/none: No such file or directory$/],
      [pid, source, join(dir, 'link'), /share \S+\/link: (Symbolic link loop|Too many levels of symbolic links)$/],
      [pid, source, log, /share \S+\/log: (Invalid argument|Not a directory)$/],
    ];
    for (const [LXC_PID, from, to, reason] of reasons) {
      assert.equal(bind(LXC_PID, log, from, to, 'rw'), 1);
      assert.match(readFileSync(log, 'utf8').trimEnd(), reason);
    }
    assert.match(readFileSync(log, 'utf8'), /^LXC was here\n/);
    assert.equal(inside('cat', '/proc/self/mountinfo'), before);

    assert.equal(bind(pid, log, source, target, 'ro'), 0);
    assert.equal(existsSync(join(target, 'ours')), false, 'the mount is in the other namespace only');
    execFileSync('mount', ['-t', 'tmpfs', 'ours', join(source, 'ours')]);
    writeFileSync(join(source, 'ours', 'file'), 'ours');
    assert.equal(inside('cat', join(target, 'ours', 'file')), 'ours');
    inside('mount', '-t', 'tmpfs', 'theirs', join(target, 'theirs'));
    inside('sh', '-c', `echo theirs > ${target}/theirs/file`);
    assert.equal(readFileSync(join(source, 'theirs', 'file'), 'utf8'), 'theirs\n');
    assert.throws(() => inside('touch', join(target, 'x')), /Read-only file system/);
  } finally {
    other.kill('SIGKILL');
    await until(() => other.exitCode !== null || other.signalCode !== null, 'the other namespace is gone');
    execFileSync('umount', ['-R', '-l', dir]);
    rmSync(dir, { recursive: true });
  }
});
