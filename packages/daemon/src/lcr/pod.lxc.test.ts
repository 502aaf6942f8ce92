/** Real pods: namespaces, shared memory, sysctls, DNS, privileged containers, limits, and what is left afterwards. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { LinuxContainerResourcesSchema } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import { removeEmptyCgroup } from './cgroup-tree.ts';
import { detectCgroups } from './cgroups.ts';
import { LxcFixture } from './lxc-fixture.ts';

const own = { namespaceOptions: { pid: 'CONTAINER' } } as const;

describe('a pod', { timeout: 300_000 }, () => {
  let fixture: LxcFixture;
  before(async () => {
    fixture = await LxcFixture.open();
  });
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
    const layout = await detectCgroups();
    if (layout.limits !== 'v1') return;
    const pod = await fixture.pod({ linux: { securityContext: own, cgroupParent: `${fixture.cgroup}/slice` } });
    const resources = {
      cpuShares: '512',
      cpuQuota: '50000',
      cpuPeriod: '100000',
      memoryLimitInBytes: '67108864',
      cpusetCpus: '0',
      oomScoreAdj: '500',
    };
    const spec = await fixture.start(pod, 'cat /proc/self/oom_score_adj; while [ ! -e /dev/shm/stop ]; do sleep 0.02; done', {
      linux: { resources },
    });
    const read = (controller: string, file: string): string =>
      readFileSync(`/sys/fs/cgroup/${controller}${fixture.cgroup}/slice/${pod.id}/${spec.id}/${file}`, 'utf8').trim();
    assert.deepEqual(
      [
        read('cpu', 'cpu.shares'),
        read('cpu', 'cpu.cfs_quota_us'),
        read('memory', 'memory.limit_in_bytes'),
        read('cpuset', 'cpuset.cpus'),
      ],
      ['512', '50000', '67108864', '0'],
    );
    const change = (update: object) =>
      fixture.runtime.updateResources(
        spec,
        fromJson(LinuxContainerResourcesSchema, JSON.parse(JSON.stringify(update)) as JsonObject),
      );
    await change({ cpuShares: '256', memoryLimitInBytes: '33554432', memorySwapLimitInBytes: '33554432' });
    assert.deepEqual(
      [
        read('cpu', 'cpu.shares'),
        read('memory', 'memory.limit_in_bytes'),
        read('memory', 'memory.memsw.limit_in_bytes'),
        read('cpu', 'cpu.cfs_quota_us'),
      ],
      ['256', '33554432', '33554432', '50000'],
    );
    // Upwards, the other order is the possible one.
    await change({ memoryLimitInBytes: '134217728', memorySwapLimitInBytes: '134217728' });
    assert.equal(read('memory', 'memory.limit_in_bytes'), '134217728');
    await assert.rejects(
      change({ cpusetCpus: '4095' }),
      (error: unknown) => error instanceof BerthError && error.kind === 'failed-precondition',
    );
    await fixture.run(pod, 'touch /dev/shm/stop');
    assert.equal((await fixture.wait(spec)).stdout, '500\n');
    const later = await fixture.create(pod, {
      command: ['/bin/sh', '-c', 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes'],
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
    const done = await fixture.run(
      await fixture.pod(),
      'cut -d: -f3 /proc/self/cgroup | sort -u; mkdir /sys/fs/cgroup/memory/x 2>&1',
    );
    assert.match(done.stdout, /^\/\nmkdir: can't create directory '\/sys\/fs\/cgroup\/memory\/x': Read-only file system\n$/);
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
    const cgroup = `/sys/fs/cgroup/freezer${fixture.cgroup}/${pod.id}/${spec.id}`;
    mkdirSync(`${cgroup}/inner`);
    for (const path of [`${cgroup}/inner`, cgroup]) {
      if (path !== cgroup)
        writeFileSync(`${path}/cgroup.procs`, readFileSync(`${cgroup}/cgroup.procs`, 'utf8').split('\n')[0] ?? '');
      writeFileSync(`${path}/freezer.state`, 'FROZEN');
    }
    const began = performance.now();
    await fixture.runtime.removeContainer(spec);
    assert.ok(performance.now() - began < 5000, 'not by a timeout');
    assert.equal(existsSync(cgroup), false);
    await fixture.runtime.removePod(pod);
  });

  test('half-made pods and containers are cleaned up', async () => {
    const pod = await fixture.pod();
    const spec = await fixture.create(pod, { command: ['/bin/true'] });
    // As after a crash: a second mount over the first, a cgroup that LXC left, a stray file.
    execFileSync('mount', ['-t', 'tmpfs', 'x', `${fixture.config.state}/${spec.id}/rootfs`]);
    mkdirSync(`/sys/fs/cgroup/memory${fixture.cgroup}/${pod.id}/${spec.id}/inner`, { recursive: true });
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
