/** Real containers and real mounts on both sides: which of them the other side sees, and that nothing else changes on the host. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import type { JsonObject } from '@bufbuild/protobuf';
import type { PodSpec } from '../runtime/runtime.ts';
import { BerthError } from '../util/errors.ts';
import { LxcFixture } from './lxc-fixture.ts';
import { parseMountinfo } from './mountinfo.ts';

const PRIVILEGED = { linux: { securityContext: { privileged: true } } };
/** Generous: the machine may be swamped. */
const WAIT_MS = 30_000;

describe('mount propagation', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  let pod: PodSpec;
  before(async () => {
    fixture = await LxcFixture.open();
    pod = await fixture.pod({ linux: { securityContext: { privileged: true, namespaceOptions: { pid: 'CONTAINER' } } } });
  });
  after(() => fixture.close());

  let made = 0;
  /** A directory that is a shared mount of its own, as /var/lib/kubelet on a proper host; unmounted with all below at the end. */
  class Volume implements Disposable {
    readonly path = `${fixture.top}/volume-${++made}`;

    constructor() {
      for (const name of ['', '/inside', '/outside', '/early']) mkdirSync(this.path + name);
      mount('--bind', this.path, this.path);
      // systemd shares `/`: a copy would be its peer, and what is mounted here would appear below this mount a second time.
      mount('--make-private', this.path);
      mount('--make-rshared', this.path);
      mount('-t', 'tmpfs', 'early', `${this.path}/early`);
    }

    [Symbol.dispose](): void {
      for (const point of points(this.path).reverse()) execFileSync('umount', ['-l', point]);
    }
  }

  const mount = (...args: string[]): void => void execFileSync('mount', args);
  /** Mount points at and below a path on the host, parents first. */
  const points = (path: string): string[] =>
    parseMountinfo(readFileSync('/proc/self/mountinfo', 'latin1'))
      .map(({ point }) => point)
      .filter((point) => point === path || point.startsWith(`${path}/`));
  /** Where nothing of ours may ever appear, and other tests of this machine do not mount either. */
  const elsewhere = (): string[] => ['/dev', '/sys', '/etc', fixture.config.state].flatMap(points);
  const until = async (what: string, probe: () => boolean): Promise<void> => {
    const deadline = performance.now() + WAIT_MS;
    while (!probe()) {
      assert.ok(performance.now() < deadline, what);
      await sleep(5);
    }
  };
  const mounts = (volume: Volume, propagation: string, more: JsonObject = {}) => ({
    mounts: [{ containerPath: '/data', hostPath: volume.path, propagation, ...more }],
  });
  const refused = (kind: string, text: RegExp) => (error: unknown) => {
    assert.ok(error instanceof BerthError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, text);
    return true;
  };
  /**
   * A container that mounts on /data/inside, waits for the host's mount on /data/outside and says what it sees; the flags are
   * files of the volume, which both sides see whatever the propagation is.
   */
  const BOTH = [
    'mount -t tmpfs mine /data/inside && echo from-inside > /data/inside/file',
    'touch /data/mounted; while [ ! -e /data/go ]; do sleep 0.02; done',
    'cat /data/outside/file 2>/dev/null || echo nothing from outside',
    'mount -t tmpfs deep /data/early && touch /data/early/deep',
    'touch /data/done; while [ ! -e /data/end ]; do sleep 0.02; done',
    'umount /data/inside; grep -c " /data/outside " /proc/self/mountinfo',
  ].join('\n');

  /** Runs BOTH; gives what the container wrote and what the host saw of it. */
  const bothWays = async (volume: Volume, config: JsonObject, where: PodSpec = pod) => {
    const spec = await fixture.start(where, BOTH, { ...config, ...PRIVILEGED });
    await until('the container mounts', () => existsSync(`${volume.path}/mounted`));
    const inside = existsSync(`${volume.path}/inside/file`) ? readFileSync(`${volume.path}/inside/file`, 'utf8') : '';
    mount('-t', 'tmpfs', 'theirs', `${volume.path}/outside`);
    writeFileSync(`${volume.path}/outside/file`, 'from-outside\n');
    writeFileSync(`${volume.path}/go`, '');
    await until('the container has looked', () => existsSync(`${volume.path}/done`));
    const deep = existsSync(`${volume.path}/early/deep`);
    execFileSync('umount', [`${volume.path}/outside`]);
    writeFileSync(`${volume.path}/end`, '');
    const { stdout, stderr, code } = await fixture.wait(spec);
    return { spec, inside, deep, stdout, stderr, code };
  };

  test('bidirectional: mounts and unmounts of either side, also on mounts that were there before', async () => {
    using volume = new Volume();
    const before = elsewhere();
    const seen = await bothWays(volume, mounts(volume, 'PROPAGATION_BIDIRECTIONAL'));
    assert.deepEqual([seen.inside, seen.deep, seen.stdout, seen.stderr], ['from-inside\n', true, 'from-outside\n0\n', '']);
    // What the container has unmounted is gone here, what it has left mounted stays: a volume outlives its driver.
    await fixture.runtime.removeContainer(seen.spec);
    assert.deepEqual(points(volume.path), [volume.path, `${volume.path}/early`, `${volume.path}/early`]);
    assert.deepEqual(elsewhere(), before);
  });

  test('host to container: the way back is cut', async () => {
    using volume = new Volume();
    const seen = await bothWays(volume, mounts(volume, 'PROPAGATION_HOST_TO_CONTAINER'));
    assert.deepEqual([seen.inside, seen.deep, seen.stdout, seen.stderr], ['', false, 'from-outside\n0\n', '']);
  });

  test('private: neither way', async () => {
    using volume = new Volume();
    const seen = await bothWays(volume, mounts(volume, 'PROPAGATION_PRIVATE'));
    assert.deepEqual([seen.inside, seen.deep, seen.stdout, seen.stderr], ['', false, 'nothing from outside\n0\n', '']);
  });

  test('bidirectional in a pod with a process namespace, and in one with all of the host', async () => {
    for (const namespaceOptions of [{ pid: 'POD' }, { pid: 'NODE', network: 'NODE', ipc: 'NODE' }]) {
      const other = await fixture.pod({ linux: { securityContext: { privileged: true, namespaceOptions } } });
      using volume = new Volume();
      const config = { linux: { securityContext: { privileged: true, namespaceOptions } } };
      const spec = await fixture.start(other, BOTH, { ...mounts(volume, 'PROPAGATION_BIDIRECTIONAL'), ...config });
      await until('the container mounts', () => existsSync(`${volume.path}/inside/file`));
      for (const flag of ['go', 'end']) writeFileSync(`${volume.path}/${flag}`, '');
      assert.equal((await fixture.wait(spec)).code, 1, 'grep found nothing');
      assert.deepEqual(points(volume.path), [volume.path, `${volume.path}/early`, `${volume.path}/early`]);
    }
  });

  test('bidirectional and read-only: nothing can be written, mounts go both ways', async () => {
    using volume = new Volume();
    const script = [
      'echo > /data/x',
      'mount -t tmpfs mine /data/inside && echo yes > /data/inside/file',
      'echo below > /data/early/x && cat /data/early/x',
    ].join('\n');
    const done = await fixture.run(pod, script, {
      ...mounts(volume, 'PROPAGATION_BIDIRECTIONAL', { readonly: true }),
      ...PRIVILEGED,
    });
    assert.match(done.stderr, /^\S+ can't create \/data\/x: Read-only file system\n$/);
    assert.equal(done.stdout, 'below\n');
    assert.equal(readFileSync(`${volume.path}/inside/file`, 'utf8'), 'yes\n');
    writeFileSync(`${volume.path}/still`, 'writable on the host');
  });

  test('two containers share one volume with the host', async () => {
    using volume = new Volume();
    const config = { ...mounts(volume, 'PROPAGATION_BIDIRECTIONAL'), ...PRIVILEGED };
    const reader = await fixture.start(pod, 'while [ ! -e /data/inside/file ]; do sleep 0.02; done; cat /data/inside/file', config);
    await fixture.run(pod, 'mount -t tmpfs mine /data/inside; echo to-the-other > /data/inside/file', config);
    assert.equal((await fixture.wait(reader)).stdout, 'to-the-other\n');
  });

  test('odd names, a path deep in the image, a link of the image on the way', async () => {
    using volume = new Volume();
    const layer = `${fixture.top}/layer-links`;
    mkdirSync(`${layer}/var`, { recursive: true });
    symlinkSync('/run', `${layer}/var/run`);
    const hostPath = `${volume.path}/a b'c"d$(e)ü😀\\`;
    mkdirSync(hostPath);
    const done = await fixture.run(
      pod,
      'mount -t tmpfs mine "/run/x y/deep" && echo yes > "/run/x y/deep/file"',
      { mounts: [{ containerPath: '/var/run/x y/deep', hostPath, propagation: 'PROPAGATION_BIDIRECTIONAL' }], ...PRIVILEGED },
      fixture.image({}, [layer, fixture.layer]),
    );
    assert.deepEqual([done.stderr, done.code], ['', 0]);
    assert.equal(readFileSync(`${hostPath}/file`, 'utf8'), 'yes\n');
  });

  test('in the place of /dev, and of a part of /sys', async () => {
    using volume = new Volume();
    mkdirSync(`${volume.path}/dev`);
    mount('--bind', '/dev', `${volume.path}/dev`);
    const before = ['/dev', '/sys'].flatMap(points);
    const done = await fixture.run(pod, 'echo x > /dev/null && [ -c /dev/zero ] && ls -d /sys/fs/inside', {
      mounts: [
        { containerPath: '/dev', hostPath: `${volume.path}/dev`, propagation: 'PROPAGATION_BIDIRECTIONAL' },
        { containerPath: '/sys/fs', hostPath: volume.path, propagation: 'PROPAGATION_BIDIRECTIONAL' },
      ],
      ...PRIVILEGED,
    });
    assert.deepEqual([done.stdout, done.stderr], ['/sys/fs/inside\n', '']);
    assert.deepEqual(['/dev', '/sys'].flatMap(points), before);
    assert.deepEqual(points(volume.path), [volume.path, `${volume.path}/early`, `${volume.path}/dev`]);
  });

  test('a container that was made is not led elsewhere by what has changed until it starts', async () => {
    using volume = new Volume();
    using outer = new Volume();
    mkdirSync(`${outer.path}/target`);
    const config = {
      command: ['/bin/true'],
      mounts: [
        { containerPath: '/outer', hostPath: outer.path },
        { containerPath: '/outer/target', hostPath: volume.path, propagation: 'PROPAGATION_BIDIRECTIONAL' },
      ],
      ...PRIVILEGED,
    };
    const before = elsewhere();
    const swapped = await fixture.create(pod, config);
    renameSync(`${outer.path}/target`, `${outer.path}/old`);
    symlinkSync('/etc', `${outer.path}/target`);
    await assert.rejects(
      fixture.runtime.startContainer(swapped),
      refused('internal', /cannot share \/outer\/target: (Too many levels of symbolic links|Symbolic link loop)/),
    );
    await fixture.runtime.removeContainer(swapped);
    const hostPath = `${volume.path}/source`;
    mkdirSync(hostPath);
    const gone = await fixture.create(pod, {
      ...config,
      mounts: [{ containerPath: '/data', hostPath, propagation: 'PROPAGATION_BIDIRECTIONAL' }],
    });
    rmSync(hostPath, { recursive: true });
    await assert.rejects(
      fixture.runtime.startContainer(gone),
      refused('internal', /cannot share \S+\/source: No such file or directory/),
    );
    await fixture.runtime.removeContainer(gone);
    assert.deepEqual(elsewhere(), before);
  });

  test('what cannot be shared is refused by name', async () => {
    const plain = `${fixture.top}/plain`;
    mkdirSync(plain);
    mount('--bind', plain, plain);
    mount('--make-private', plain);
    using volume = new Volume();
    const shared = { containerPath: '/data', hostPath: volume.path, propagation: 'PROPAGATION_BIDIRECTIONAL' };
    const cases: readonly (readonly [JsonObject, string, RegExp])[] = [
      [
        { mounts: [{ ...shared, hostPath: plain }] },
        'failed-precondition',
        /mounts\[0\]\.propagation: .*plain is on \S+ that is not shared/,
      ],
      [
        { mounts: [{ ...shared, hostPath: plain, propagation: 'PROPAGATION_HOST_TO_CONTAINER' }] },
        'failed-precondition',
        /mounts\[0\]\.propagation: .*neither shared nor slave/,
      ],
      [
        { mounts: [{ containerPath: '/data/x', hostPath: plain }, shared] },
        'unimplemented',
        /mounts\[0\]\.container_path \/data\/x .*BIDIRECTIONAL/,
      ],
      [{ mounts: [shared, { ...shared }] }, 'unimplemented', /mounts\[1\]\.container_path/],
      [{ mounts: [{ ...shared, containerPath: '/dev/new' }] }, 'unimplemented', /mounts\[0\]\.propagation .*\/dev/],
      [
        { mounts: [shared], linux: { securityContext: { maskedPaths: ['/data/inside'] } } },
        'unimplemented',
        /masked_paths \/data\/inside/,
      ],
      [{ mounts: [shared], linux: { securityContext: { readonlyPaths: ['/data'] } } }, 'unimplemented', /readonly_paths \/data/],
    ];
    for (const [config, kind, text] of cases)
      await assert.rejects(fixture.create(pod, { command: ['/bin/true'], ...config }), refused(kind, text));
    execFileSync('umount', [plain]);
    rmSync(plain, { recursive: true });
  });
});
