/** Layouts of real hosts: v1 with controllers mounted one by one, systemd's hybrid, v2, and inside of a container. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cgroupDirectories, containerCgroups, hierarchyOf, parseCgroups } from './cgroups.ts';

const mount = (point: string, type: string, options: string, root = '/'): string =>
  `31 23 0:28 ${root} ${point} rw,nosuid shared:9 - ${type} ${type} ${options}`;

describe('parseCgroups', () => {
  test('v1 with single controllers and a unified hierarchy beside them', () => {
    const mountinfo = [
      mount('/sys/fs/cgroup', 'tmpfs', 'rw,mode=755'),
      mount('/sys/fs/cgroup/memory', 'cgroup', 'rw,memory'),
      mount('/sys/fs/cgroup/pids', 'cgroup', 'rw,pids'),
      mount('/sys/fs/cgroup/systemd', 'cgroup', 'rw,name=systemd'),
      mount('/sys/fs/cgroup/unified', 'cgroup2', 'rw'),
    ].join('\n');
    const layout = parseCgroups(
      mountinfo,
      '4:memory:/\n8:pids:/\n9:name=systemd:/\n0::/\n',
      '4:memory:/daemon\n8:pids:/\n9:name=systemd:/\n0::/\n',
    );
    assert.equal(layout.limits, 'v1');
    assert.deepEqual(hierarchyOf(layout, 'memory'), {
      version: 1,
      controllers: ['memory'],
      base: '/sys/fs/cgroup/memory',
      daemonElsewhere: true,
    });
    assert.deepEqual(cgroupDirectories(layout, 'berth/p/c'), [
      '/sys/fs/cgroup/unified/berth/p/c',
      '/sys/fs/cgroup/pids/berth/p/c',
      '/sys/fs/cgroup/memory/berth/p/c',
      '/sys/fs/cgroup/systemd/berth/p/c',
    ]);
  });

  test("systemd's hybrid: controllers mounted together, init in init.scope", () => {
    const mountinfo = [
      mount('/sys/fs/cgroup/cpu,cpuacct', 'cgroup', 'rw,cpu,cpuacct'),
      mount('/sys/fs/cgroup/systemd', 'cgroup', 'rw,xattr,name=systemd'),
      mount('/sys/fs/cgroup/unified', 'cgroup2', 'rw,nsdelegate'),
    ].join('\n');
    const layout = parseCgroups(
      mountinfo,
      '3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/init.scope\n',
      '3:cpu,cpuacct:/system.slice/berthd.service\n1:name=systemd:/system.slice/berthd.service\n0::/system.slice/berthd.service\n',
    );
    assert.equal(layout.limits, 'v1');
    assert.equal(hierarchyOf(layout, 'cpuacct')?.base, '/sys/fs/cgroup/cpu,cpuacct');
    assert.equal(layout.hierarchies.find((h) => h.version === 2)?.base, '/sys/fs/cgroup/unified');
    assert.ok(layout.hierarchies.every((h) => h.daemonElsewhere));
  });

  test('v2 alone', () => {
    const layout = parseCgroups(
      mount('/sys/fs/cgroup', 'cgroup2', 'rw,nsdelegate'),
      '0::/init.scope\n',
      '0::/system.slice/berthd.service\n',
    );
    assert.deepEqual(layout, {
      limits: 'v2',
      hierarchies: [{ version: 2, controllers: [], base: '/sys/fs/cgroup', daemonElsewhere: true }],
    });
  });

  test('systemd with v1 only for itself is v2 for limits', () => {
    const mountinfo = [
      mount('/sys/fs/cgroup/systemd', 'cgroup', 'rw,name=systemd'),
      mount('/sys/fs/cgroup/unified', 'cgroup2', 'rw'),
    ].join('\n');
    assert.equal(parseCgroups(mountinfo, '1:name=systemd:/\n0::/\n', '1:name=systemd:/\n0::/\n').limits, 'v2');
  });

  test('in a container whose cgroup is the root of the mount', () => {
    const layout = parseCgroups(
      mount('/sys/fs/cgroup/memory', 'cgroup', 'rw,memory', '/docker/abc'),
      '4:memory:/docker/abc\n',
      '4:memory:/docker/abc\n',
    );
    assert.equal(layout.hierarchies[0]?.base, '/sys/fs/cgroup/memory');
  });

  test('without any there is an error', () => assert.throws(() => parseCgroups('', '', ''), /no cgroup hierarchy/));
});

test('cgroups of a container are below its pod, the monitor is not', () => {
  assert.deepEqual(containerCgroups('/kubepods/pod1/', '/berth', 'P', 'C'), {
    pod: 'kubepods/pod1/P',
    container: 'kubepods/pod1/P/C',
    monitor: 'berth/monitors/C',
    pivot: 'berth/monitors',
  });
});
