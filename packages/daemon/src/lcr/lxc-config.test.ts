/** LXC configs against golden files: `UPDATE_GOLDEN=1` writes them anew. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { V1, V2 } from './host-facts-samples.ts';
import { type ConfigInput, lxcConfig } from './lxc-config.ts';
import { type ContainerPlan, PLAN_VERSION } from './plan.ts';

const PLAN: ContainerPlan = {
  version: PLAN_VERSION,
  user: { uid: 1000, gid: 2000, groups: [2000, 3000] },
  home: '/',
  hostname: 'web-1',
  cwd: '/srv',
  readOnlyRootfs: true,
  privileged: false,
  mounts: [
    { source: '/run/berth/pods/P/shm', target: '/dev/shm', type: 'none', options: ['bind', 'nosuid', 'create=dir'] },
    { source: 'mqueue', target: '/dev/mqueue', type: 'mqueue', options: ['nosuid', 'create=dir'] },
    { source: '/host/a b', target: '/data/c d', type: 'none', options: ['rbind', 'ro', 'rprivate'] },
  ],
  recursiveReadOnly: [],
  nodes: [
    { path: '/dev/fuse', type: 'c', major: 10, minor: 229, mode: 0o666, uid: 0, gid: 0 },
    { path: '/dev/mapper/a b;c', type: 'b', major: 253, minor: 1_048_575, mode: 0o660, uid: 0, gid: 6 },
  ],
  masked: [
    { path: '/proc/kcore', directory: false },
    { path: '/sys/firmware', directory: true },
  ],
  readOnlyPaths: ['/proc/sys'],
  own: { dev: true, sys: true, cgroup: true },
  namespaces: {
    clone: ['mnt', 'cgroup', 'pid'],
    share: { net: '/run/berth/pods/P/net', ipc: '/run/berth/pods/P/ipc', uts: '/run/berth/pods/P/uts' },
  },
  capabilities: '0000000000000021',
  noNewPrivileges: true,
  seccomp: '/run/berth/seccomp/abc',
  devices: ['c *:* m', 'c 1:3 rwm'],
  cgroups: { pod: 'berth/P', container: 'berth/P/C', monitor: 'berth/monitors/C', pivot: 'berth/monitors' },
  stopSignal: 15,
};

const PRIVILEGED: ContainerPlan = {
  version: PLAN_VERSION,
  user: { uid: 0, gid: 0, groups: [] },
  home: '/root',
  hostname: 'web-1',
  cwd: '/',
  readOnlyRootfs: false,
  privileged: true,
  mounts: [],
  recursiveReadOnly: [],
  nodes: [{ path: '/dev/own', type: 'c', major: 1, minor: 3, mode: 0o600, uid: 1, gid: 2 }],
  shared: [
    { source: '/var/lib/kubelet/pods', target: '/var/lib/kubelet/pods', readOnly: false },
    { source: '/a b', target: '/c"d', readOnly: true },
  ],
  masked: [],
  readOnlyPaths: [],
  own: { dev: true, sys: true, cgroup: true },
  namespaces: { clone: ['mnt', 'cgroup'], share: { uts: '/run/berth/pods/P/uts' } },
  noNewPrivileges: false,
  apparmor: 'unconfined',
  cgroups: PLAN.cgroups,
  stopSignal: 15,
};

const input = (plan: ContainerPlan, facts: typeof V1): ConfigInput => ({
  plan,
  facts,
  limits: { cpuShares: '512', cpuQuota: '50000', memory: '1000', memorySwap: '2000', oomScoreAdj: '-5' },
  mounts: [...plan.mounts, { source: '/host/sub', target: '/data/sub', type: 'none', options: ['bind', 'ro', 'rprivate'] }],
  paths: { rootfs: '/run/berth/C/rootfs', oom: '/run/berth/C/oom', lxcLog: '/run/berth/C/lxc.log' },
  shim: '/run/berth/bin/berth-shim',
  hostDevicesHook: '/run/berth/bin/host-devices',
});

const golden = (name: string, text: string): void => {
  const path = fileURLToPath(new URL(`golden/${name}.conf`, import.meta.url));
  if (process.env['UPDATE_GOLDEN']) writeFileSync(path, text);
  assert.equal(text, readFileSync(path, 'utf8'));
};

test('v1, an ordinary container', () => golden('v1-ordinary', lxcConfig(input(PLAN, V1))));
test('v1, a privileged container', () => golden('v1-privileged', lxcConfig(input(PRIVILEGED, V1))));
test('v2, an ordinary container', () => golden('v2-ordinary', lxcConfig(input(PLAN, V2))));
test('v2, a privileged container', () => golden('v2-privileged', lxcConfig(input(PRIVILEGED, V2))));

test('a joined pid namespace and a volume in the place of /dev', () => {
  const text = lxcConfig({
    ...input({ ...PLAN, own: { dev: false, sys: false, cgroup: false } }, V1),
    pidNamespace: '/proc/7/ns/pid',
  });
  assert.match(text, /^lxc\.namespace\.share\.pid = \/proc\/7\/ns\/pid$/m);
  assert.match(text, /^lxc\.autodev = 0$/m);
  assert.match(text, /^lxc\.pty\.max = 0$/m);
  assert.match(text, /^lxc\.mount\.auto = proc:rw$/m);
});

test('a newline anywhere is refused, never written', () => {
  const evil = '/x\nlxc.hook.pre-start = /bin/sh';
  const plans: readonly ContainerPlan[] = [
    { ...PLAN, cgroups: { ...PLAN.cgroups, container: evil } },
    { ...PLAN, apparmor: evil },
    { ...PLAN, namespaces: { ...PLAN.namespaces, share: { net: evil } } },
    { ...PLAN, devices: [evil] },
    { ...PLAN, nodes: [{ path: `/dev/${evil}`, type: 'c', major: 1, minor: 3, mode: 0o600, uid: 0, gid: 0 }] },
    { ...PLAN, shared: [{ source: evil, target: '/x', readOnly: false }] },
    { ...PLAN, shared: [{ source: '/x', target: evil, readOnly: false }] },
  ];
  for (const plan of plans) assert.throws(() => lxcConfig(input(plan, V1)), /control characters/);
  // In a mount a newline can be escaped, so it is; it starts no line of its own.
  for (const plan of [
    { ...PLAN, mounts: [{ source: evil, target: evil, type: 'none' as const, options: ['bind'] }] },
    { ...PLAN, masked: [{ path: evil, directory: true }] },
    { ...PLAN, readOnlyPaths: [evil] },
  ])
    assert.doesNotMatch(lxcConfig(input(plan, V1)), /^lxc\.hook\.pre-start/m);
});
