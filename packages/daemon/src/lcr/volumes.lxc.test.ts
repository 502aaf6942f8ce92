/** Real containers with volumes: where they end up, what they allow, and that hostile images reach nothing on the host. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { PodSpec } from '../runtime/runtime.ts';
import { BerthError } from '../util/errors.ts';
import { LxcFixture } from './lxc-fixture.ts';

describe('volumes', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  let pod: PodSpec;
  before(async () => {
    fixture = await LxcFixture.open();
    pod = await fixture.pod();
  });
  after(() => fixture.close());

  let made = 0;
  const directory = (): string => {
    const path = `${fixture.top}/volume-${++made}`;
    mkdirSync(path);
    writeFileSync(`${path}/file`, 'content');
    return path;
  };
  const layerWith = (build: (layer: string) => void) => {
    const layer = `${fixture.top}/layer-${++made}`;
    mkdirSync(layer);
    build(layer);
    return fixture.image({}, [layer, fixture.layer]);
  };
  const refused = (kind: string, text: RegExp) => (error: unknown) => {
    assert.ok(error instanceof BerthError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, text);
    return true;
  };

  test('a directory, written from inside and read outside', async () => {
    const hostPath = directory();
    const done = await fixture.run(pod, 'cat /data/file; echo new > /data/new', { mounts: [{ containerPath: '/data', hostPath }] });
    assert.equal(done.stdout, 'content');
    assert.equal(readFileSync(`${hostPath}/new`, 'utf8'), 'new\n');
  });

  test('a file, a missing host path, blanks and quotes in names', async () => {
    const hostPath = directory();
    const odd = `${fixture.top}/a b#c "d" \\e'f`;
    const done = await fixture.run(pod, 'cat /one/two/file; echo; ls -d "/x y" /missing; echo hi > "/x y/z"', {
      mounts: [
        { containerPath: '/one/two/file', hostPath: `${hostPath}/file` },
        { containerPath: '/missing', hostPath: `${fixture.top}/not/there/yet` },
        { containerPath: '/x y', hostPath: odd },
      ],
    });
    assert.equal(done.stdout, 'content\n/missing\n/x y\n');
    assert.ok(statSync(`${fixture.top}/not/there/yet`).isDirectory());
    assert.equal(readFileSync(`${odd}/z`, 'utf8'), 'hi\n');
  });

  test('VOLUMEs of an image: made where they are missing, each container has its own, and what is mounted there counts', async () => {
    const image = layerWith((layer) => {
      mkdirSync(`${layer}/full`);
      writeFileSync(`${layer}/full/file`, 'of the image');
      symlinkSync(`../..${fixture.top}/outside`, `${layer}/link`);
    });
    const volumes = ['/data', '/deep//er/', '/full', '/link/below', '/conf', '/mounted/below', '/dev/made', '/dev/shm/made', '/'];
    const withVolumes = { ...image, run: { ...image.run, volumes } };
    const script = 'cat /full/file; echo; ls -d /data /deep/er /link/below; ls /data /deep/er; echo x > /data/new && echo written';
    for (let times = 0; times < 2; times++) {
      const plain = await fixture.run(pod, `${script}; ls -A /dev/shm`, {}, withVolumes);
      assert.equal(plain.stdout, 'of the image\n/data\n/deep/er\n/link/below\n/data:\n\n/deep/er:\nwritten\n', plain.stderr);
    }
    assert.equal(existsSync(`${fixture.top}/outside`), false);
    const hostPath = directory();
    const mounted = await fixture.run(
      pod,
      'ls /data; cat /conf',
      {
        mounts: [
          { containerPath: '/data', hostPath },
          { containerPath: '/conf', hostPath: `${hostPath}/file` },
          { containerPath: '/mounted/', hostPath },
        ],
      },
      withVolumes,
    );
    assert.equal(mounted.stdout, 'file\ncontent', mounted.stderr);
    assert.deepEqual(readdirSync(hostPath), ['file']);
    await assert.rejects(
      fixture.create(pod, {}, { ...image, run: { ...image.run, volumes: ['/full/file/below'] } }),
      refused('invalid-argument', /^image: \/full\/file is not a directory/),
    );
  });

  test('read-only ones cannot be written, mounts below them can', async () => {
    const hostPath = directory();
    mkdirSync(`${hostPath}/sub`);
    execFileSync('mount', ['-t', 'tmpfs', 'sub', `${hostPath}/sub`]);
    try {
      const script = '(echo > /data/x) 2>&1; (echo > /data/sub/x) 2>&1 && echo sub written';
      const plain = await fixture.run(pod, script, { mounts: [{ containerPath: '/data', hostPath, readonly: true }] });
      assert.equal(plain.stdout, "/bin/sh: can't create /data/x: Read-only file system\nsub written\n");
      const recursive = await fixture.run(pod, script, {
        mounts: [{ containerPath: '/data', hostPath, readonly: true, recursiveReadOnly: true }],
      });
      assert.equal(
        recursive.stdout,
        "/bin/sh: can't create /data/x: Read-only file system\n/bin/sh: can't create /data/sub/x: Read-only file system\n",
      );
    } finally {
      execFileSync('umount', [`${hostPath}/sub`]);
    }
  });

  test('recursive read-only is refused without read-only and with propagation', async () => {
    const hostPath = directory();
    const mount = { containerPath: '/data', hostPath, recursiveReadOnly: true };
    await assert.rejects(fixture.create(pod, { mounts: [mount] }), refused('invalid-argument', /mounts\[0\]\.recursive_read_only/));
    for (const propagation of ['PROPAGATION_HOST_TO_CONTAINER', 'PROPAGATION_BIDIRECTIONAL'])
      await assert.rejects(
        fixture.create(pod, { mounts: [{ ...mount, readonly: true, propagation }] }),
        refused('invalid-argument', /recursive_read_only/),
      );
  });

  test('links inside the image are followed inside', async () => {
    const hostPath = directory();
    const image = layerWith((layer) => {
      mkdirSync(`${layer}/var`);
      mkdirSync(`${layer}/etc`);
      symlinkSync('/run', `${layer}/var/run`);
      symlinkSync('../run/systemd/resolv.conf', `${layer}/etc/resolv.conf`);
    });
    const done = await fixture.run(
      pod,
      'cat /run/secrets/file; echo; cmp /etc/resolv.conf /run/systemd/resolv.conf && echo same; grep -c . /etc/resolv.conf',
      { mounts: [{ containerPath: '/var/run/secrets', hostPath }] },
      image,
    );
    assert.match(done.stdout, /^content\nsame\n/);
  });

  test('a hostile image: links to the host end inside the container', async () => {
    const hostPath = directory();
    const before = readdirSync('/etc').length;
    const image = layerWith((layer) => {
      mkdirSync(`${layer}/deep`);
      symlinkSync('/etc', `${layer}/data`);
      symlinkSync(`../../../../../../../../../../..${fixture.top}`, `${layer}/deep/up`);
      symlinkSync(`${fixture.top}/absolute`, `${layer}/abs`);
    });
    const done = await fixture.run(
      pod,
      `cat /etc/sub/file; cat ${fixture.top}/made/file; cat ${fixture.top}/absolute/file`,
      { mounts: ['/data/sub', '/deep/up/made', '/abs'].map((containerPath) => ({ containerPath, hostPath })) },
      image,
    );
    assert.equal(done.stdout, 'contentcontentcontent');
    assert.equal(readdirSync('/etc').length, before);
    for (const name of ['made', 'absolute']) assert.equal(existsSync(`${fixture.top}/${name}`), false);
  });

  test('a hostile volume: a link in it does not lead a mount below it to the host', async () => {
    const outer = directory();
    const hostPath = directory();
    symlinkSync(`${fixture.top}/evil`, `${outer}/link`);
    const done = await fixture.run(pod, `cat ${fixture.top}/evil/sub/file`, {
      mounts: [
        { containerPath: '/data/link/sub', hostPath },
        { containerPath: '/data', hostPath: outer },
      ],
    });
    assert.equal(done.stdout, 'content');
    assert.equal(existsSync(`${fixture.top}/evil`), false);
  });

  test('a volume below another one is mounted after it, whatever the order', async () => {
    const outer = directory();
    const inner = directory();
    writeFileSync(`${inner}/file`, 'inner');
    const done = await fixture.run(pod, 'cat /a/file /a/b/file', {
      mounts: [
        { containerPath: '/a/b', hostPath: inner },
        { containerPath: '/a', hostPath: outer },
      ],
    });
    assert.equal(done.stdout, 'contentinner');
    assert.ok(statSync(`${outer}/b`).isDirectory());
  });

  test('a link of the host as source', async () => {
    const hostPath = directory();
    symlinkSync(hostPath, `${fixture.top}/source-link`);
    assert.equal(
      (await fixture.run(pod, 'cat /data/file', { mounts: [{ containerPath: '/data', hostPath: `${fixture.top}/source-link` }] }))
        .stdout,
      'content',
    );
  });

  test('own files take the place of the generated ones', async () => {
    const hostPath = directory();
    assert.equal(
      (await fixture.run(pod, 'cat /etc/hosts', { mounts: [{ containerPath: '/etc/hosts', hostPath: `${hostPath}/file` }] }))
        .stdout,
      'content',
    );
  });

  test('mounts below /dev and in shared memory', async () => {
    const hostPath = directory();
    const done = await fixture.run(pod, 'cat /dev/mine/file /dev/one /dev/shm/two/file', {
      mounts: [
        { containerPath: '/dev/mine', hostPath },
        { containerPath: '/dev/one', hostPath: `${hostPath}/file` },
        { containerPath: '/dev/shm/two', hostPath },
      ],
    });
    assert.equal(done.stdout, 'contentcontentcontent');
  });

  test('what cannot be mounted is refused by name', async () => {
    const hostPath = directory();
    const cases: readonly (readonly [object, string, RegExp])[] = [
      [{ containerPath: '/data', hostPath, image: { image: 'x' } }, 'unimplemented', /mounts\[0\]\.image/],
      [{ containerPath: '/data', hostPath, uidMappings: [{ hostId: 1 }] }, 'unimplemented', /uidMappings/],
      [{ containerPath: 'data', hostPath }, 'invalid-argument', /container_path/],
      [{ containerPath: '/data', hostPath: 'x' }, 'invalid-argument', /host_path/],
      [{ containerPath: '/', hostPath }, 'invalid-argument', /root of the container/],
      [{ containerPath: '/proc/sys', hostPath }, 'invalid-argument', /\/proc/],
      [{ containerPath: '/bin/busybox', hostPath }, 'invalid-argument', /is not a directory/],
      [{ containerPath: '/tmp', hostPath: `${hostPath}/file` }, 'invalid-argument', /is a directory/],
      [{ containerPath: '/data', hostPath: `${hostPath}/file/x` }, 'invalid-argument', /ENOTDIR/],
      [{ containerPath: '/da\nta', hostPath: `${hostPath}/\u0001` }, 'invalid-argument', /control characters/],
    ];
    for (const [mount, kind, text] of cases) {
      const spec = fixture.spec(pod, { command: ['/bin/true'], mounts: [JSON.parse(JSON.stringify(mount))] });
      await assert.rejects(
        (async () => {
          await fixture.runtime.createContainer(spec);
          try {
            await fixture.runtime.startContainer(spec);
          } finally {
            await fixture.runtime.removeContainer(spec);
          }
        })(),
        refused(kind, text),
      );
    }
  });

  test('the root directory has the mode of the image', async () => {
    const image = layerWith((layer) => chmodSync(layer, 0o711));
    assert.match((await fixture.run(pod, 'stat -c %a /', {}, image)).stdout, /^711\n$/);
  });
});
