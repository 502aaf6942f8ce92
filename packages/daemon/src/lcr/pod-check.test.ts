/** RunPodSandbox requests, field by field. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { DNSConfigSchema, NamespaceOptionSchema, PodSandboxConfigSchema } from '@berth/cri-api';
import { BerthError } from '../util/errors.ts';
import { V1 } from './host-facts-samples.ts';
import { containerNamespaces, podNamespaces } from './namespaces.ts';
import { podPaths } from './paths.ts';
import { checkPod } from './pod-check.ts';
import { podHostname, resolvConf } from './pod-files.ts';

const ID = 'abcdef0123456789'.repeat(4);
const config = (json: JsonObject) => fromJson(PodSandboxConfigSchema, json);
const check = (json: JsonObject) => checkPod(config(json), ID, V1);
const options = (namespaceOptions: JsonObject): JsonObject => ({ linux: { securityContext: { namespaceOptions } } });
const refused = (kind: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof BerthError, String(error));
  assert.equal(error.kind, kind, error.message);
  assert.match(error.message, text);
  return true;
};

describe('checkPod', () => {
  test('defaults: everything is the pod’s own', () => {
    assert.deepEqual(check({}), { namespaces: { network: 'pod', ipc: 'pod', pid: 'pod' }, hostname: 'abcdef012345', sysctls: [] });
  });

  test('sysctls belong to namespaces of the pod, or are refused', () => {
    const sysctls = (names: Record<string, string>, rest: JsonObject = {}) =>
      checkPod(config({ linux: { sysctls: names, ...rest } }), ID, V1).sysctls;
    assert.deepEqual(sysctls({ 'net.core.somaxconn': '5', 'kernel/shmmax': '6', 'fs.mqueue.msg_max': '7' }), [
      'net.core.somaxconn=5',
      'kernel.shmmax=6',
      'fs.mqueue.msg_max=7',
    ]);
    for (const name of [
      'kernel.panic',
      'vm.swappiness',
      'fs.file-max',
      'kernel.shmmax2',
      'net',
      'net..x',
      '../x',
      'net.ipv4/../../x',
      'kernel.hostname',
    ])
      assert.throws(
        () => sysctls({ [name]: '1' }),
        (error: unknown) => error instanceof BerthError && error.message.includes(`linux.sysctls["${name}"]`),
        name,
      );
    assert.throws(() => sysctls({ 'net.core.somaxconn': '1\n2' }), refused('invalid-argument', /one line/));
    assert.throws(
      () =>
        check({ linux: { sysctls: { 'net.core.somaxconn': '1' }, securityContext: { namespaceOptions: { network: 'NODE' } } } }),
      refused('invalid-argument', /network of the host/),
    );
    assert.throws(
      () => check({ linux: { sysctls: { 'kernel.sem': '1' }, securityContext: { namespaceOptions: { ipc: 'NODE' } } } }),
      refused('invalid-argument', /IPC namespace of the host/),
    );
  });

  test('host ports need a network plugin, unless the network is the host’s', () => {
    assert.throws(
      () => check({ portMappings: [{ containerPort: 80 }, { containerPort: 80, hostPort: 8080 }] }),
      refused('unimplemented', /port_mappings\[1\]\.host_port/),
    );
    check({ portMappings: [{ containerPort: 80 }] });
    check({ portMappings: [{ containerPort: 80, hostPort: 80 }], ...options({ network: 'NODE' }) });
  });

  test('refusals by name', () => {
    const cases: readonly (readonly [JsonObject, string, RegExp])[] = [
      [{ windows: {} }, 'invalid-argument', /windows/],
      [{ hostname: 'a b' }, 'invalid-argument', /hostname/],
      [{ hostname: 'x'.repeat(65) }, 'invalid-argument', /hostname/],
      [{ linux: { cgroupParent: '/a/../../b' } }, 'invalid-argument', /cgroup_parent/],
      [{ linux: { cgroupParent: '/a\nb' } }, 'invalid-argument', /cgroup_parent/],
      [{ linux: { securityContext: { selinuxOptions: { type: 'x_t' } } } }, 'failed-precondition', /selinux/],
      [options({ network: 'CONTAINER' }), 'invalid-argument', /network/],
      [options({ ipc: 'TARGET' }), 'invalid-argument', /ipc/],
      [options({ pid: 'TARGET' }), 'invalid-argument', /pid/],
      [options({ usernsOptions: { mode: 'POD' } }), 'unimplemented', /userns_options/],
      [options({ usernsOptions: { mode: 'NODE', uids: [{ length: 1 }] } }), 'invalid-argument', /userns_options/],
    ];
    for (const [json, kind, text] of cases) assert.throws(() => check(json), refused(kind, text), JSON.stringify(json));
  });

  test('the hostname is the one asked for, the host’s, or from the id', () => {
    assert.equal(podHostname(config({ hostname: 'h.x' }), ID, 'node'), 'h.x');
    assert.equal(podHostname(config({}), ID, 'pod'), 'abcdef012345');
  });
});

describe('containerNamespaces', () => {
  const paths = podPaths({ root: '/r', state: '/s' }, 'P');
  const join = (pod: JsonObject, container?: JsonObject) =>
    containerNamespaces(container && fromJson(NamespaceOptionSchema, container), podNamespaces(config(options(pod))), paths);

  test('without options of its own a container has the pod’s', () => {
    assert.deepEqual(join({}).namespaces, {
      clone: ['mnt', 'cgroup'],
      share: { net: '/s/pods/P/net', ipc: '/s/pods/P/ipc', uts: '/s/pods/P/uts', pid: '/s/pods/P/pid' },
    });
    assert.deepEqual(join({ network: 'NODE', ipc: 'NODE', pid: 'NODE' }).namespaces, {
      clone: ['mnt', 'cgroup'],
      share: { uts: '/s/pods/P/uts' },
    });
    assert.deepEqual(join({ pid: 'CONTAINER' }).namespaces.clone, ['mnt', 'cgroup', 'pid']);
  });

  test('its own pid mode, as far as the pod allows', () => {
    assert.deepEqual(join({}, { pid: 'CONTAINER' }).namespaces.clone, ['mnt', 'cgroup', 'pid']);
    assert.equal(join({ pid: 'CONTAINER' }, { pid: 'TARGET', targetId: 'abc' }).pidTarget, 'abc');
    assert.equal(join({ pid: 'NODE' }, { pid: 'POD' }).namespaces.share.pid, undefined);
    assert.throws(() => join({ pid: 'CONTAINER' }, { pid: 'POD' }), refused('invalid-argument', /namespace_options\.pid/));
    assert.throws(() => join({}, { pid: 'NODE' }), refused('invalid-argument', /namespace_options\.pid/));
    assert.throws(() => join({}, { network: 'NODE' }), refused('invalid-argument', /network/));
    assert.throws(() => join({}, { ipc: 'NODE' }), refused('invalid-argument', /ipc/));
    assert.throws(() => join({}, { pid: 'TARGET', targetId: '../x' }), refused('invalid-argument', /target_id/));
  });
});

describe('resolvConf', () => {
  const text = (json: JsonObject) => resolvConf(fromJson(DNSConfigSchema, json));
  test('servers, searches, options', () => {
    assert.equal(
      text({ servers: ['1.1.1.1'], searches: ['a', 'b'], options: ['ndots:5'] }),
      'search a b\nnameserver 1.1.1.1\noptions ndots:5\n',
    );
    assert.equal(text({ servers: ['::1'] }), 'nameserver ::1\n');
  });
  test('nothing can add a line or a word', () => {
    for (const json of [
      { servers: ['1.1.1.1\nx'] },
      { searches: ['a b'] },
      { options: ['\tx'] },
      { servers: [''] },
      { options: Array.from({ length: 300 }, () => 'x') },
    ])
      assert.throws(() => text(json), refused('invalid-argument', /dns_config/));
  });
});
