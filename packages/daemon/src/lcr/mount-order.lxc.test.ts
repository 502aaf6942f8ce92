/** Real containers whose volumes lie over what Berth mounts itself: the pod's files and devices are seen all the same, and say so where not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { JsonObject } from '@bufbuild/protobuf';
import type { PodSpec } from '../runtime/runtime.ts';
import { BerthError } from '../util/errors.ts';
import { LxcFixture } from './lxc-fixture.ts';

const READ_FILES = 'cat /etc/hostname /etc/resolv.conf; grep -c 127.0.1.1 /etc/hosts';
const SEEN = 'web\nnameserver 10.9.8.7\n1\n';

describe('what lies over what', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  let pod: PodSpec;
  before(async () => {
    fixture = await LxcFixture.open();
    pod = await fixture.pod({ hostname: 'web', dnsConfig: { servers: ['10.9.8.7'] } });
  });
  after(() => fixture.close());

  let made = 0;
  const directory = (files: Readonly<Record<string, string>> = {}): string => {
    const path = `${fixture.top}/volume-${++made}`;
    mkdirSync(path);
    for (const [name, text] of Object.entries(files)) writeFileSync(`${path}/${name}`, text);
    return path;
  };
  /** An image whose resolv.conf is a link into /run, as distributions with systemd-resolved have it. */
  const linked = () => {
    const layer = directory();
    mkdirSync(`${layer}/etc`);
    symlinkSync('../run/systemd/resolve/stub-resolv.conf', `${layer}/etc/resolv.conf`);
    return fixture.image({}, [layer, fixture.layer]);
  };
  const run = async (script: string, mounts: JsonObject[], more: JsonObject = {}, image = fixture.image()) => {
    const { stdout, stderr } = await fixture.run(pod, script, { mounts, ...more }, image);
    return stdout + stderr;
  };
  const refused = async (kind: string, text: RegExp, config: JsonObject, image = fixture.image()): Promise<void> => {
    await assert.rejects(fixture.create(pod, { command: ['/bin/true'], ...config }, image), (error: unknown) => {
      assert.ok(error instanceof BerthError, String(error));
      assert.equal(error.kind, kind, error.message);
      assert.match(error.message, text);
      return true;
    });
  };

  test('a volume over /etc: the files of the pod are there, over empty ones in the volume', async () => {
    const hostPath = directory({ hosts: 'not seen', other: 'theirs\n' });
    assert.equal(await run(`${READ_FILES}; cat /etc/other`, [{ containerPath: '/etc', hostPath }]), `${SEEN}theirs\n`);
    assert.deepEqual(readdirSync(hostPath), ['hostname', 'hosts', 'other', 'resolv.conf']);
    assert.equal(readFileSync(`${hostPath}/hosts`, 'utf8'), 'not seen');
    assert.equal(readFileSync(`${hostPath}/resolv.conf`, 'utf8'), '');
  });

  test('a volume where a link leads, of the image or of a volume, whatever is deeper', async () => {
    for (const containerPath of ['/run', '/run/systemd', '/run/systemd/resolve'])
      assert.equal(await run(READ_FILES, [{ containerPath, hostPath: directory() }], {}, linked()), SEEN);
    const hostPath = directory();
    symlinkSync('/run/x/resolv.conf', `${hostPath}/resolv.conf`);
    const deep = { containerPath: '/run/x', hostPath: directory() };
    assert.equal(
      await run(`${READ_FILES}; cat /run/x/resolv.conf`, [{ containerPath: '/etc', hostPath }, deep]),
      `${SEEN}nameserver 10.9.8.7\n`,
    );
  });

  test('a read-only volume: with such files it works, without them it is refused and nothing is made in it', async () => {
    const full = directory({ hosts: '', hostname: '', 'resolv.conf': '' });
    assert.equal(await run(READ_FILES, [{ containerPath: '/etc', hostPath: full, readonly: true }]), SEEN);
    const hostPath = directory({ hosts: '', hostname: '' });
    const mounts = [{ containerPath: '/etc', hostPath, readonly: true }];
    await refused('invalid-argument', /^mounts: \/etc\/resolv\.conf is to be mounted over, and the read-only volume at \/etc/, {
      mounts,
    });
    assert.deepEqual(readdirSync(hostPath), ['hostname', 'hosts']);
    const own = { containerPath: '/etc/resolv.conf', hostPath: `${directory({ file: 'own\n' })}/file` };
    assert.equal(await run('cat /etc/resolv.conf', [...mounts, own]), 'own\n');
  });

  test('a volume at exactly such a file takes its place, also where the link leads', async () => {
    const hostPath = `${directory({ file: 'own\n' })}/file`;
    const volume = { containerPath: '/etc', hostPath: directory() };
    assert.equal(await run('cat /etc/resolv.conf', [{ containerPath: '/etc/resolv.conf', hostPath }, volume]), 'own\n');
    const target = { containerPath: '/run/systemd/resolve/stub-resolv.conf', hostPath };
    assert.equal(await run('cat /etc/resolv.conf /etc/hostname', [target], {}, linked()), 'own\nweb\n');
  });

  test('a volume that the host sees too is refused, where its files would be mounted over', async () => {
    const hostPath = directory();
    execFileSync('mount', ['--bind', hostPath, hostPath]);
    try {
      execFileSync('mount', ['--make-private', hostPath]);
      execFileSync('mount', ['--make-shared', hostPath]);
      await refused('unimplemented', /^mounts \/etc\/hosts is not built below \/etc, which has BIDIRECTIONAL/, {
        mounts: [{ containerPath: '/etc', hostPath, propagation: 'PROPAGATION_BIDIRECTIONAL' }],
      });
      assert.deepEqual(readdirSync(hostPath), []);
    } finally {
      execFileSync('umount', [hostPath]);
    }
  });

  test('with a read-only root the files of the pod are read-only too, without it the pod shares what is written', async () => {
    const script =
      'for f in hosts hostname resolv.conf; do (echo x >> /etc/$f) 2>/dev/null && echo $f written; done; umount /etc/hosts 2>/dev/null';
    const readOnly = { linux: { securityContext: { readonlyRootfs: true } } };
    assert.equal(await run(`${script}; ${READ_FILES}`, [], readOnly), SEEN);
    const other = await fixture.pod();
    assert.match((await fixture.run(other, script)).stdout, /^hosts written\nhostname written\nresolv.conf written\n$/);
    assert.match((await fixture.run(other, 'cat /etc/hostname')).stdout, /\nx\n$/);
  });

  test('devices in a volume: those that it has there, no others', async () => {
    const hostPath = directory();
    execFileSync('mknod', ['-m', '666', `${hostPath}/own`, 'c', '1', '5']);
    for (const at of ['/dev', '/dev/x']) {
      const mounts = [{ containerPath: at, hostPath }];
      const device = (name: string, source = '/dev/zero') => ({ devices: [{ hostPath: source, containerPath: `${at}/${name}` }] });
      assert.equal(await run(`head -c 3 ${at}/own | wc -c`, mounts, device('own')), '3\n');
      for (const [name, source] of [
        ['more', '/dev/zero'],
        ['own', '/dev/null'],
      ] as const)
        await refused('invalid-argument', /^devices\[0\]\.container_path: .* does not have this device/, {
          mounts,
          ...device(name, source),
        });
    }
    // The links are LXC's.
    assert.deepEqual(readdirSync(hostPath), ['fd', 'own', 'stderr', 'stdin', 'stdout']);
  });

  test('the nodes of a volume at /dev, which may be the host itself, stay as they are', async () => {
    const hostPath = directory();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'dev', hostPath]);
    try {
      for (const [name = '', minor = ''] of [
        ['ptmx', '2'],
        ['console', '1'],
        ['tty', '0'],
      ])
        execFileSync('mknod', ['-m', '666', `${hostPath}/${name}`, 'c', '5', minor]);
      mkdirSync(`${hostPath}/pts`);
      execFileSync('mount', ['-t', 'devpts', '-o', 'ptmxmode=0666', 'devpts', `${hostPath}/pts`]);
      const look = () =>
        ['ptmx', 'console', 'tty', 'pts/ptmx'].map((name) => {
          const { mode, rdev, ino } = lstatSync(`${hostPath}/${name}`);
          return { name, mode, rdev, ino };
        });
      const before = look();
      const mounts = [{ containerPath: '/dev', hostPath }];
      assert.equal(
        await run('[ -c /dev/ptmx ] && [ -c /dev/pts/ptmx ] && stat -c %d /dev/pts', mounts),
        `${statSync(`${hostPath}/pts`).dev}\n`,
      );
      assert.deepEqual(look(), before);
    } finally {
      execFileSync('umount', ['-R', hostPath]);
    }
  });

  test('below a recursively read-only volume: its own mounts are read-only, and what the request mounts there is on top', async () => {
    const hostPath = directory();
    for (const name of ['sub', 'deep']) mkdirSync(`${hostPath}/${name}`);
    execFileSync('mount', ['-t', 'tmpfs', 'sub', `${hostPath}/sub`]);
    execFileSync('mount', ['-t', 'tmpfs', 'deep', `${hostPath}/deep`]);
    try {
      const done = await run('cat /data/sub/file; echo > /data/sub/x && echo written; echo > /data/deep/x', [
        { containerPath: '/data', hostPath, readonly: true, recursiveReadOnly: true },
        { containerPath: '/data/sub', hostPath: directory({ file: 'on top\n' }) },
      ]);
      assert.equal(done, "on top\nwritten\n/bin/sh: can't create /data/deep/x: Read-only file system\n");
    } finally {
      for (const name of ['sub', 'deep']) execFileSync('umount', [`${hostPath}/${name}`]);
    }
  });

  test('read-only paths below a volume are refused, at one they are made', async () => {
    const hostPath = directory();
    mkdirSync(`${hostPath}/sub`);
    const mounts = [{ containerPath: '/data', hostPath }];
    const readonlyPaths = (path: string) => ({ linux: { securityContext: { readonlyPaths: [path] } } });
    for (const path of ['/data/sub', '/data/sub/../sub'])
      await refused('unimplemented', /readonly_paths \/data\/sub .*volume at \/data/, { mounts, ...readonlyPaths(path) });
    assert.match(await run('echo > /data/x', mounts, readonlyPaths('/data')), /Read-only file system/);
  });

  test('a directory of a volume that has become a link when the container starts leads nowhere', async () => {
    const volume = directory();
    const outside = directory({ file: 'outside' });
    for (const [name, hostPath] of [
      ['file', `${directory({ file: 'mounted' })}/file`],
      ['sub', directory()],
    ] as const) {
      mkdirSync(`${volume}/${name}-at`);
      const spec = await fixture.create(pod, {
        command: ['/bin/true'],
        mounts: [
          { containerPath: '/v', hostPath: volume },
          { containerPath: `/v/${name}-at/${name}`, hostPath },
        ],
      });
      renameSync(`${volume}/${name}-at`, `${volume}/${name}-was`);
      symlinkSync(outside, `${volume}/${name}-at`);
      await assert.rejects(fixture.runtime.startContainer(spec), /LXC could not start the container/);
    }
    assert.deepEqual(readdirSync(outside), ['file']);
    assert.equal(readFileSync(`${outside}/file`, 'utf8'), 'outside');
  });

  test('the folder of a log is made below the log directory, whatever link is there', async () => {
    const outside = directory();
    symlinkSync(outside, `${pod.config.logDirectory}/link`);
    await fixture.create(pod, { command: ['/bin/true'], logPath: 'link/made/0.log' });
    assert.deepEqual(readdirSync(outside), []);
  });
});
