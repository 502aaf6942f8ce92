/** Preparing and releasing the host: mounts, ownership rules, a changed shim. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Config } from '../config/config.ts';
import { BerthError } from '../util/errors.ts';
import { prepareHost, releaseHost } from './host.ts';

describe('the host', { timeout: 120_000 }, () => {
  let top = '';
  let config: Config;
  beforeEach(() => {
    top = mkdtempSync('/tmp/lcr-');
    writeFileSync(`${top}/shim`, 'one');
    config = {
      root: `${top}/root`,
      state: `${top}/s`,
      runtime: { lxcStart: '/usr/bin/lxc-start', shim: `${top}/shim`, cgroupParent: '/berth-test-host' },
    } as unknown as Config;
  });
  afterEach(async () => {
    await releaseHost(config);
    assert.equal(readFileSync('/proc/self/mounts', 'utf8').includes(top), false);
    rmSync(top, { recursive: true });
  });
  const refuses = async (code: string, text: RegExp) => {
    await assert.rejects(prepareHost(config), (error: unknown) => {
      assert.ok(error instanceof BerthError, String(error));
      assert.equal(error.code, code);
      assert.match(error.message, text);
      return true;
    });
  };
  const mounts = (): number =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(` ${top}/`)).length;

  test('makes the state directory a private mount and puts the shim where nobody can write', async () => {
    await prepareHost(config);
    const table = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const state = table.find((line) => line.split(' ')[4] === `${top}/s`) ?? '';
    assert.ok(state !== '' && !state.includes('shared:'), state);
    assert.equal(readFileSync(`${top}/s/bin/berth-shim`, 'utf8'), 'one');
    assert.throws(() => writeFileSync(`${top}/s/bin/berth-shim`, 'x'), /EROFS/);
    assert.throws(() => writeFileSync(`${top}/s/bin/new`, 'x'), /EROFS/);
  });

  test('again changes nothing; a new shim takes the place of the old one', async () => {
    await prepareHost(config);
    const before = mounts();
    await prepareHost(config);
    writeFileSync(`${top}/shim`, 'two');
    await prepareHost(config);
    assert.equal(readFileSync(`${top}/s/bin/berth-shim`, 'utf8'), 'two');
    assert.throws(() => writeFileSync(`${top}/s/bin/new`, 'x'), /EROFS/);
    assert.equal(mounts(), before);
  });

  test('a shim is replaced while containers still execute the old one, also a second time', async () => {
    copyFileSync('/bin/sleep', `${top}/shim`);
    chmodSync(`${top}/shim`, 0o755);
    await prepareHost(config);
    const old = spawn(`${top}/s/bin/berth-shim`, ['600'], { stdio: 'ignore' });
    await once(old, 'spawn');
    try {
      for (const version of ['two', 'three']) {
        writeFileSync(`${top}/shim`, version);
        await prepareHost(config);
        assert.equal(readFileSync(`${top}/s/bin/berth-shim`, 'utf8'), version);
        assert.throws(() => writeFileSync(`${top}/s/bin/new`, 'x'), /EROFS/);
      }
    } finally {
      old.kill('SIGKILL');
      await once(old, 'exit');
    }
  });

  test('a daemon that died between making the shim writable and read-only again is made good', async () => {
    await prepareHost(config);
    execFileSync('mount', ['-o', 'remount,rw', `${top}/s/bin`]);
    await prepareHost(config);
    assert.throws(() => writeFileSync(`${top}/s/bin/new`, 'x'), /EROFS/);
  });

  test('a state directory that is a link to another place works', async () => {
    mkdirSync(`${top}/real`, { mode: 0o755 });
    symlinkSync(`${top}/real`, `${top}/s`);
    await prepareHost(config);
    await prepareHost(config);
    assert.equal(readFileSync(`${top}/real/bin/berth-shim`, 'utf8'), 'one');
  });

  test('a shared parent does not make it shared', async () => {
    execFileSync('mount', ['--bind', top, top]);
    // Out of the group of `/` first, which systemd shares: what is mounted here would have a twin below this mount.
    execFileSync('mount', ['--make-private', top]);
    execFileSync('mount', ['--make-rshared', top]);
    try {
      await prepareHost(config);
      const state = readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.split(' ')[4]?.startsWith(`${top}/s`));
      assert.equal(
        state.some((line) => line.includes('shared:')),
        false,
      );
      assert.equal(await releaseHost(config), true);
    } finally {
      execFileSync('umount', ['-l', top]);
    }
  });

  test('is released only when no pod and no container is left', async () => {
    await prepareHost(config);
    mkdirSync(`${top}/s/pods/x`);
    assert.equal(await releaseHost(config), false);
    rmSync(`${top}/s/pods/x`, { recursive: true });
    mkdirSync(`${top}/s/${'a'.repeat(64)}`);
    assert.equal(await releaseHost(config), false);
    rmSync(`${top}/s/${'a'.repeat(64)}`, { recursive: true });
    assert.equal(await releaseHost(config), true);
    assert.equal(await releaseHost(config), true);
    assert.equal(existsSync(`${top}/s/bin`), false);
  });

  test('directories that others can write to, or that are not of root, are refused', async () => {
    mkdirSync(`${top}/s`);
    chmodSync(`${top}/s`, 0o775);
    await refuses('UNSAFE_DIRECTORY', /\/s cannot be used: .*\/s can be written by others/);
    chmodSync(`${top}/s`, 0o1777);
    await refuses('UNSAFE_DIRECTORY', /can be written by others/);
    chmodSync(`${top}/s`, 0o755);
    chownSync(`${top}/s`, 1000, 0);
    await refuses('UNSAFE_DIRECTORY', /does not belong to root/);
    chownSync(`${top}/s`, 0, 0);
    chmodSync(top, 0o777);
    await refuses('UNSAFE_DIRECTORY', /can be written by others/);
    chmodSync(top, 0o1777);
    await prepareHost(config);
  });

  test('a missing shim', async () => {
    const { runtime } = config;
    config = { ...config, runtime: { ...runtime, shim: `${top}/none` } };
    await refuses('SHIM_MISSING', /make -C shim/);
    copyFileSync(`${top}/shim`, `${top}/none`);
    await prepareHost(config);
  });
});
