/** Real pods: namespaces, shared memory, sysctls, DNS, privileged containers, limits, and what is left afterwards. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { LinuxContainerResourcesSchema } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import { removeEmptyCgroup } from './cgroup-tree.ts';
import { type CgroupLayout, detectCgroups } from './cgroups.ts';
import { LxcFixture } from './lxc-fixture.ts';
import { lxcRunDirectories } from './paths.ts';
import { settingDirectory } from './resources.ts';

const own = { namespaceOptions: { pid: 'CONTAINER' } } as const;

describe('a pod', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  let layout: CgroupLayout;
  before(async () => {
    [fixture, layout] = await Promise.all([LxcFixture.open(), detectCgroups()]);
  });
  /** A container's cgroup where a controller's files are. */
  const cgroupOf = (controller: string, pod: string, container: string, below = ''): string =>
    settingDirectory(layout, controller, join(fixture.cgroup.slice(1), below, pod, container)) ?? assert.fail(controller);
  after(() => fixture.close());

  test('has a network of its own with loopback up, shared by its containers', async () => {
    const pod = await fixture.pod();
    const one = await fixture.run(
      pod,
      'ip -o link | cut -d: -f2 | tr -d "\\n"; ping -c 1 127.0.0.1 >/dev/null && echo up; readlink /proc/self/ns/net',
    );
    const two = await fixture.run(pod, 'readlink /proc/self/ns/net');
    assert.match(one.stdout, /^ loup\nnet:/);
    assert.equal(one.stdout.split('\n')[1], two.stdout.trim());
    assert.notEqual(two.stdout.trim(), readlinkSync('/proc/self/ns/net'));
  });

  test('shares memory and IPC among its containers, 64 MiB of it, not with other pods', async () => {
    const pod = await fixture.pod();
    await fixture.run(pod, 'echo shared > /dev/shm/x');
    const done = await fixture.run(
      pod,
      'cat /dev/shm/x; df -k /dev/shm | tail -1 | tr -s " " | cut -d" " -f2; stat -c %a /dev/shm; touch /dev/mqueue/q && echo queue; readlink /proc/self/ns/ipc',
    );
    assert.match(done.stdout, /^shared\n65536\n1777\nqueue\nipc:/);
    assert.notEqual(done.stdout.split('\n')[4], readlinkSync('/proc/self/ns/ipc'));
    assert.equal((await fixture.run(await fixture.pod(), 'ls /dev/shm | wc -l')).stdout, '0\n');
  });

  test('with the namespaces of the host', async () => {
    const pod = await fixture.pod({
      linux: { securityContext: { namespaceOptions: { network: 'NODE', ipc: 'NODE', pid: 'NODE' } } },
    });
    const done = await fixture.run(
      pod,
      'for n in net ipc pid; do readlink /proc/self/ns/$n; done; hostname; [ -d /proc/$HOSTPID ] && echo host proc; (echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1',
      {
        envs: [{ key: 'HOSTPID', value: Buffer.from(String(process.pid)).toString('base64') }],
      },
    );
    const [net, ipc, pid] = ['net', 'ipc', 'pid'].map((name) => readlinkSync(`/proc/self/ns/${name}`));
    assert.equal(
      done.stdout,
      `${net}\n${ipc}\n${pid}\n${hostname()}\nhost proc\n/bin/sh: can't create /proc/sys/net/ipv4/ip_forward: Read-only file system\n`,
    );
  });

  test('with a shared pid namespace: containers see each other, and one end is not the end of all', async () => {
    const pod = await fixture.pod({ linux: { securityContext: { namespaceOptions: { pid: 'POD' } } } });
    const first = await fixture.start(pod, 'trap "exit 3" TERM; echo $$; while :; do sleep 0.05; done');
    const second = await fixture.run(pod, 'echo $$; ps | grep "[t]rap.*TERM"; readlink /proc/self/ns/pid');
    const [ownPid, seen = ''] = second.stdout.split('\n');
    assert.notEqual(ownPid, '1');
    // The second one has ended and the first goes on.
    const third = await fixture.run(pod, `kill -TERM ${seen.trim().split(' ')[0]} && echo sent`);
    assert.equal(third.stdout, 'sent\n');
    assert.equal((await fixture.wait(first)).code, 3);
  });

  test('a container joins the pid namespace of another one', async () => {
    const pod = await fixture.pod();
    const target = await fixture.start(pod, 'while [ ! -e /dev/shm/stop ]; do sleep 0.02; done');
    const options = { linux: { securityContext: { namespaceOptions: { pid: 'TARGET', targetId: target.id } } } };
    const done = await fixture.run(pod, 'cat /proc/1/comm; [ $$ != 1 ] && echo joined; touch /dev/shm/stop', options);
    assert.equal(done.stdout, 'sh\njoined\n');
    await fixture.wait(target);
    const late = await fixture.create(pod, { command: ['/bin/true'], ...options });
    await assert.rejects(
      fixture.runtime.startContainer(late),
      (error: unknown) => error instanceof BerthError && error.code === 'TARGET_NOT_RUNNING',
    );
    const foreign = await fixture.create(await fixture.pod(), { command: ['/bin/true'], ...options });
    await assert.rejects(
      fixture.runtime.startContainer(foreign),
      (error: unknown) => error instanceof BerthError && error.kind === 'invalid-argument',
    );
  });

  test('sets sysctls of its namespaces', async () => {
    const pod = await fixture.pod({
      linux: {
        securityContext: own,
        sysctls: { 'net.ipv4.ip_forward': '1', 'kernel.shm_rmid_forced': '1', 'net/ipv4/ip_local_port_range': '1024 65000' },
      },
    });
    const done = await fixture.run(
      pod,
      'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range',
    );
    assert.equal(done.stdout, '1\n1\n1024\t65000\n');
  });

  test('has the DNS settings of the request', async () => {
    const pod = await fixture.pod({
      dnsConfig: { servers: ['10.0.0.1', 'fd00::1'], searches: ['a.example', 'b.example'], options: ['ndots:5'] },
    });
    assert.equal(
      (await fixture.run(pod, 'cat /etc/resolv.conf')).stdout,
      'search a.example b.example\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5\n',
    );
    if (existsSync('/etc/resolv.conf'))
      assert.equal(
        (await fixture.run(await fixture.pod(), 'cat /etc/resolv.conf; echo end')).stdout,
        `${readFileSync('/etc/resolv.conf', 'utf8').replace(/\n?$/, '\n').replace(/^\n$/, '')}end\n`,
      );
  });

  test('a privileged container: devices of the host in a /dev of its own, everything writable, all capabilities', async () => {
    const pod = await fixture.pod({ linux: { securityContext: { ...own, privileged: true } } });
    const script =
      '[ -c /dev/kmsg ] && echo kmsg; mount -t tmpfs x /mnt && echo mounted; touch /proc/sys/kernel/hostname && echo writable; grep Seccomp: /proc/self/status; grep -c "^sysfs /sys sysfs rw" /proc/mounts; touch /dev/left-behind; mkdir /dev/shm/x; for d in /dev/fuse /dev/loop-control /dev/net/tun; do [ -c $d ] && : < $d && echo open && break; done';
    const done = await fixture.run(pod, `mkdir -p /mnt; ${script}`, {
      linux: { securityContext: { privileged: true, seccomp: { profileType: 'RuntimeDefault' } } },
    });
    assert.equal(done.stdout, 'kmsg\nmounted\nwritable\nSeccomp:\t0\n1\nopen\n', done.stderr);
    assert.equal(existsSync('/dev/left-behind'), false);
    await assert.rejects(
      async () => fixture.create(await fixture.pod(), { command: ['/bin/true'], linux: { securityContext: { privileged: true } } }),
      (error: unknown) => error instanceof BerthError && /privileged/.test(error.message),
    );
  });

  test('limits: set at start, changed while running and for later starts, in the cgroup asked for', async () => {
    const v1 = layout.limits === 'v1';
    const pod = await fixture.pod({ linux: { securityContext: own, cgroupParent: `${fixture.cgroup}/slice` } });
    const resources = {
      cpuShares: '512',
      cpuQuota: '50000',
      cpuPeriod: '100000',
      memoryLimitInBytes: '67108864',
      cpusetCpus: '0',
      oomScoreAdj: '500',
      ...(v1 ? {} : { unified: { 'pids.max': '77', 'memory.oom.group': '1' } }),
    };
    const spec = await fixture.start(pod, 'cat /proc/self/oom_score_adj; while [ ! -e /dev/shm/stop ]; do sleep 0.02; done', {
      linux: { resources },
    });
    const read = (file: string): string =>
      readFileSync(`${cgroupOf(file.slice(0, file.indexOf('.')), pod.id, spec.id, 'slice')}/${file}`, 'utf8').trim();
    /** Each file of v1 with its value, or of v2. */
    const has = (ofV1: Record<string, string>, ofV2: Record<string, string>): void => {
      const expected = v1 ? ofV1 : ofV2;
      assert.deepEqual(Object.fromEntries(Object.keys(expected).map((file) => [file, read(file)])), expected);
    };
    has(
      { 'cpu.shares': '512', 'cpu.cfs_quota_us': '50000', 'memory.limit_in_bytes': '67108864', 'cpuset.cpus': '0' },
      {
        'cpu.weight': '20',
        'cpu.max': '50000 100000',
        'memory.max': '67108864',
        'memory.swap.max': 'max',
        'cpuset.cpus': '0',
        'cpuset.cpus.effective': '0',
        'pids.max': '77',
        'memory.oom.group': '1',
      },
    );
    const change = (update: JsonObject) => fixture.runtime.updateResources(spec, fromJson(LinuxContainerResourcesSchema, update));
    await change({ cpuShares: '256', memoryLimitInBytes: '33554432', memorySwapLimitInBytes: '50331648' });
    has(
      {
        'cpu.shares': '256',
        'memory.limit_in_bytes': '33554432',
        'memory.memsw.limit_in_bytes': '50331648',
        'cpu.cfs_quota_us': '50000',
      },
      { 'cpu.weight': '10', 'memory.max': '33554432', 'memory.swap.max': '16777216', 'cpu.max': '50000 100000' },
    );
    // The limit of both together stays when one of them changes: v2 has a file for swap alone.
    await change({ memoryLimitInBytes: '41943040' });
    has(
      { 'memory.limit_in_bytes': '41943040', 'memory.memsw.limit_in_bytes': '50331648' },
      { 'memory.max': '41943040', 'memory.swap.max': '8388608' },
    );
    // Upwards, the other order is the possible one.
    await change({ memoryLimitInBytes: '134217728', memorySwapLimitInBytes: '134217728', cpuPeriod: '200000' });
    has(
      { 'memory.limit_in_bytes': '134217728', 'cpu.cfs_period_us': '200000' },
      { 'memory.max': '134217728', 'memory.swap.max': '0', 'cpu.max': '50000 200000' },
    );
    // All or none: what the kernel has taken before it refuses is taken back.
    await assert.rejects(
      change({ cpuShares: '300', cpuQuota: '70000', memoryLimitInBytes: '67108864', cpusetCpus: '4095' }),
      (error: unknown) =>
        error instanceof BerthError && error.kind === 'failed-precondition' && /cpuset\.cpus = 4095: \w+$/.test(error.message),
    );
    has(
      {
        'cpu.shares': '256',
        'cpu.cfs_quota_us': '50000',
        'memory.limit_in_bytes': '134217728',
        'memory.memsw.limit_in_bytes': '134217728',
      },
      { 'cpu.weight': '10', 'cpu.max': '50000 200000', 'memory.max': '134217728', 'memory.swap.max': '0' },
    );
    await fixture.run(pod, 'touch /dev/shm/stop');
    assert.equal((await fixture.wait(spec)).stdout, '500\n');
    const later = await fixture.create(pod, {
      command: ['/bin/sh', '-c', `cat /sys/fs/cgroup/${v1 ? 'memory/memory.limit_in_bytes' : 'memory.max'}`],
      linux: { resources },
    });
    await fixture.runtime.updateResources(later, fromJson(LinuxContainerResourcesSchema, { memoryLimitInBytes: '50331648' }));
    await fixture.runtime.startContainer(later);
    assert.equal((await fixture.wait(later)).stdout, '50331648\n');
    for (const container of [spec, later]) await fixture.runtime.removeContainer(container);
    await fixture.runtime.removePod(pod);
    // A parent that the caller names is the caller's.
    await removeEmptyCgroup(layout, `${fixture.cgroup.slice(1)}/slice`);
  });

  test('too much memory ends a container, and the record says so', async () => {
    const pod = await fixture.pod();
    const done = await fixture.run(pod, 'exec tail -c 200000000 /dev/zero', {
      linux: { resources: { memoryLimitInBytes: '33554432', memorySwapLimitInBytes: '33554432' } },
    });
    assert.equal(done.oom, true);
  });

  test('cgroups inside: its own, read-only', async () => {
    const own = layout.limits === 'v1' ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
    const done = await fixture.run(
      await fixture.pod(),
      `cut -d: -f3 /proc/self/cgroup | sort -u; grep -x 1 ${own}/cgroup.procs; mkdir ${own}/x 2>&1`,
    );
    assert.equal(done.stdout, `/\n1\nmkdir: can't create directory '${own}/x': Read-only file system\n`);
  });

  test('removing a running container kills it; removing again, and removing what never was, is fine', async () => {
    const pod = await fixture.pod();
    const spec = await fixture.start(pod, 'trap "" TERM HUP; sleep 1000 & while :; do sleep 1; done');
    await fixture.runtime.removeContainer(spec);
    await fixture.runtime.removeContainer(spec);
    await fixture.runtime.removeContainer(fixture.spec(pod, {}));
    await fixture.runtime.removePod(pod);
    await fixture.runtime.removePod(pod);
    assert.equal(existsSync(`${fixture.config.state}/pods/${pod.id}`), false);
  });

  test('removing a container that somebody has frozen, with a frozen cgroup of its own inside, kills it', async () => {
    const pod = await fixture.pod();
    const spec = await fixture.start(pod, 'sleep 1000');
    const cgroup = cgroupOf('freezer', pod.id, spec.id);
    mkdirSync(`${cgroup}/inner`);
    for (const path of [`${cgroup}/inner`, cgroup]) {
      if (path !== cgroup)
        writeFileSync(`${path}/cgroup.procs`, readFileSync(`${cgroup}/cgroup.procs`, 'utf8').split('\n')[0] ?? '');
      const [file, text] = layout.limits === 'v1' ? ['freezer.state', 'FROZEN'] : ['cgroup.freeze', '1'];
      writeFileSync(`${path}/${file}`, text);
    }
    const began = performance.now();
    await fixture.runtime.removeContainer(spec);
    assert.ok(performance.now() - began < 9000, 'not by a timeout');
    assert.equal(existsSync(cgroup), false);
    await fixture.runtime.removePod(pod);
  });

  test('removing a container with threads in cgroups of their own (cgroup v2)', async (t) => {
    if (layout.limits === 'v1') return t.skip('limits are set through cgroup v1 here');
    const pod = await fixture.pod();
    const spec = await fixture.start(pod, 'sleep 1000');
    const cgroup = cgroupOf('', pod.id, spec.id);
    mkdirSync(`${cgroup}/threads`);
    writeFileSync(`${cgroup}/threads/cgroup.type`, 'threaded');
    writeFileSync(`${cgroup}/threads/cgroup.threads`, readFileSync(`${cgroup}/cgroup.procs`, 'utf8').split('\n')[0] ?? '');
    assert.throws(() => readFileSync(`${cgroup}/threads/cgroup.procs`), /ENOTSUP|EOPNOTSUPP/);
    await fixture.runtime.removeContainer(spec);
    assert.equal(existsSync(cgroup), false);
    await fixture.runtime.removePod(pod);
  });

  test('half-made pods and containers are cleaned up', async () => {
    const pod = await fixture.pod();
    const spec = await fixture.create(pod, { command: ['/bin/true'] });
    // As after a crash: a second mount over the first, a cgroup that LXC left, a stray file.
    execFileSync('mount', ['-t', 'tmpfs', 'x', `${fixture.config.state}/${spec.id}/rootfs`]);
    mkdirSync(`${cgroupOf('memory', pod.id, spec.id)}/inner`, { recursive: true });
    await fixture.runtime.removeContainer(spec);
    assert.equal(existsSync(`${fixture.config.state}/${spec.id}`), false);
    execFileSync('rm', [`${fixture.config.state}/pods/${pod.id}/hostname`]);
    await fixture.runtime.removePod(pod);
    assert.deepEqual(
      fixture.leftovers().filter((line) => line.includes(pod.id)),
      [],
    );
  });

  test('a second createPod of the same id changes nothing', async () => {
    const pod = await fixture.pod();
    const before = (await fixture.run(pod, 'readlink /proc/self/ns/net')).stdout;
    await fixture.runtime.createPod(pod);
    assert.equal((await fixture.run(pod, 'readlink /proc/self/ns/net')).stdout, before);
  });

  test('an overlay of many layers', async () => {
    const layers = Array.from({ length: 60 }, (_, index) => {
      const layer = `${fixture.top}/many/layers/sha256-${String(index).padStart(40, '0')}`;
      mkdirSync(`${layer}/l${index}`, { recursive: true });
      return layer;
    });
    const image = fixture.image({}, [...layers, fixture.layer]);
    assert.equal((await fixture.run(await fixture.pod(), 'ls -d /l* | wc -l', {}, image)).stdout, '60\n');
  });
});

test('the end of the last container leaves the folders of LXC that a start at the same moment needs', {
  timeout: 60_000,
}, async () => {
  const own = await LxcFixture.open();
  const folders = lxcRunDirectories(own.config.state);
  try {
    await endAndRemove(own, folders);
  } finally {
    await own.close();
  }
  assert.deepEqual(folders.filter(existsSync), []);
});

/** Runs a container of the fixture to its end; `folders` must outlive it. */
async function endAndRemove(own: LxcFixture, folders: readonly string[]): Promise<void> {
  const spec = await own.create(await own.pod(), { command: ['true'] });
  await own.runtime.startContainer(spec);
  await own.wait(spec);
  // The shim's own clean-up comes after its record.
  const deadline = performance.now() + 30_000;
  while (existsSync(`${folders[1]}/${spec.id}/lxc`)) {
    assert.ok(performance.now() < deadline, 'the lock folder of the container is still there');
    await sleep(5);
  }
  assert.deepEqual(folders.filter(existsSync), folders);
  await own.runtime.removeContainer(spec);
  assert.deepEqual(
    folders.map((folder) => readdirSync(folder)),
    [[], []],
  );
}
