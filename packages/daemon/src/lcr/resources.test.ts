/** Limits as cgroup files, for v1 and v2; pod.lxc.test.ts has those of the machine it runs on. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { LinuxContainerResourcesSchema } from '@berth/cri-api';
import { mergeResources } from '../container/update-resources.ts';
import { BerthError } from '../util/errors.ts';
import { V1, V2 } from './host-facts-samples.ts';
import { cgroupSettings, grantedOomScoreAdj, mergeLimits, parseLimits, sharesToWeight } from './resources.ts';

const limits = (json: JsonObject) => parseLimits(fromJson(LinuxContainerResourcesSchema, json));
const written = (json: JsonObject, facts = V1) => cgroupSettings(limits(json), facts).map(({ file, value }) => `${file}=${value}`);

/** cgroup v2 of a kernel that was started without some of the controllers. */
const NO_MEMORY = { ...V2, unifiedControllers: ['cpu', 'pids'] };

describe('limits', () => {
  const all: JsonObject = {
    cpuShares: '512',
    cpuPeriod: '100000',
    cpuQuota: '50000',
    memoryLimitInBytes: '1000000',
    memorySwapLimitInBytes: '1500000',
    cpusetCpus: '0-1,3',
    cpusetMems: '0',
  };

  test('v1', () => {
    assert.deepEqual(written(all), [
      'cpu.shares=512',
      'cpu.cfs_period_us=100000',
      'cpu.cfs_quota_us=50000',
      'memory.limit_in_bytes=1000000',
      'memory.memsw.limit_in_bytes=1500000',
      'cpuset.cpus=0-1,3',
      'cpuset.mems=0',
    ]);
  });

  test('v2', () => {
    assert.deepEqual(written(all, V2), [
      'cpu.weight=20',
      'cpu.max=50000 100000',
      'memory.max=1000000',
      'memory.swap.max=500000',
      'cpuset.cpus=0-1,3',
      'cpuset.mems=0',
    ]);
    assert.deepEqual(written({ cpuQuota: '-1' }, V2), ['cpu.max=max 100000']);
    assert.deepEqual(written({ memoryLimitInBytes: '-1', memorySwapLimitInBytes: '-1' }, V2), [
      'memory.max=max',
      'memory.swap.max=max',
    ]);
    assert.deepEqual(written({ unified: { 'memory.high': '5', 'pids.max': '9' } }, V2), ['memory.high=5', 'pids.max=9']);
    assert.deepEqual(written({ hugepageLimits: [{ pageSize: '2MB', limit: '7' }] }, V2), ['hugetlb.2MB.max=7']);
  });

  test('shares become weights by the formula of Kubernetes', () => {
    assert.deepEqual([2n, 1024n, 262_144n].map(sharesToWeight), [1n, 39n, 10_000n]);
  });

  test('0 and empty mean not set, too few shares are as few as possible', () => {
    assert.deepEqual(written({ cpuShares: '0', memoryLimitInBytes: '0' }), []);
    assert.deepEqual(written({ cpuShares: '1' }), ['cpu.shares=2']);
  });

  test('later limits win field by field', () => {
    assert.deepEqual(
      mergeLimits(limits({ cpuShares: '5', cpusetCpus: '0' }), limits({ cpuShares: '6' })),
      limits({ cpuShares: '6', cpusetCpus: '0' }),
    );
  });

  test('later files of cgroup v2 win one by one, in what is kept as in what is shown', () => {
    const before = fromJson(LinuxContainerResourcesSchema, { unified: { 'memory.high': '5', 'pids.max': '9' } });
    const change = fromJson(LinuxContainerResourcesSchema, { cpuShares: '5', unified: { 'memory.high': '6', 'io.weight': '7' } });
    const unified = { 'memory.high': '6', 'pids.max': '9', 'io.weight': '7' };
    const kept = mergeLimits(parseLimits(before), parseLimits(change));
    assert.deepEqual(kept, { cpuShares: '5', unified });
    assert.deepEqual(parseLimits(mergeResources(before, change)), kept);
    assert.deepEqual(mergeLimits(kept, limits({ cpuShares: '6' })).unified, unified);
    assert.deepEqual(mergeLimits({}, kept).unified, unified);
  });

  test('what the host or the field cannot is refused by name', () => {
    const cases: readonly (readonly [JsonObject, typeof V1, string, RegExp])[] = [
      [{ cpusetCpus: '0;1' }, V1, 'invalid-argument', /cpuset_cpus/],
      [{ cpuQuota: '-2' }, V1, 'invalid-argument', /cpu_quota/],
      [{ cpuQuota: '999' }, V1, 'invalid-argument', /cpu_quota: 999 is out of range: at least 1000/],
      [{ cpuPeriod: '999' }, V1, 'invalid-argument', /cpu_period: 999 is out of range: 1000 to 1000000/],
      [{ cpuPeriod: '1000001' }, V2, 'invalid-argument', /cpu_period/],
      [{ memoryLimitInBytes: '524287' }, V2, 'invalid-argument', /memory_limit_in_bytes: 524287 is out of range: at least 524288/],
      [{ oomScoreAdj: '1001' }, V1, 'invalid-argument', /oom_score_adj/],
      [{ unified: { 'memory.high': '5' } }, V1, 'failed-precondition', /unified/],
      [{ unified: { '../x': '5' } }, V2, 'invalid-argument', /unified/],
      [{ unified: { 'memory.high': '5\n' } }, V2, 'invalid-argument', /unified/],
      [{ unified: { 'cgroup.freeze': '1' } }, V2, 'unimplemented', /cgroup\.freeze/],
      [{ memoryLimitInBytes: '5000000' }, NO_MEMORY, 'failed-precondition', /memory_limit_in_bytes: .*no memory controller/],
      [{ unified: { 'memory.high': '5' } }, NO_MEMORY, 'failed-precondition', /unified\["memory.high"\]: .*no memory controller/],
      [{ hugepageLimits: [{ pageSize: '2MB', limit: '7' }] }, NO_MEMORY, 'failed-precondition', /hugepage_limits/],
      [{ hugepageLimits: [{ pageSize: '2MB', limit: '7' }] }, V1, 'failed-precondition', /hugepage_limits/],
      [{ hugepageLimits: [{ pageSize: '../', limit: '0' }] }, V1, 'invalid-argument', /hugepage_limits/],
      [{ memorySwapLimitInBytes: '5' }, { ...V1, swapLimit: false }, 'failed-precondition', /memory_swap_limit_in_bytes/],
      [{ memorySwapLimitInBytes: '5' }, V2, 'invalid-argument', /memory_swap_limit_in_bytes/],
      [{ memoryLimitInBytes: '9000000', memorySwapLimitInBytes: '5' }, V2, 'invalid-argument', /memory_swap_limit_in_bytes/],
    ];
    for (const [json, facts, kind, text] of cases)
      assert.throws(
        () => written(json, facts),
        (error: unknown) => error instanceof BerthError && error.kind === kind && text.test(error.message),
        JSON.stringify(json),
      );
  });

  test('a limit of 0 huge pages needs no controller: kubelets always send it', () => {
    assert.deepEqual(written({ hugepageLimits: [{ pageSize: '2MB', limit: '0' }] }), []);
    assert.deepEqual(written({ hugepageLimits: [{ pageSize: '2MB', limit: '0' }] }, NO_MEMORY), []);
    assert.deepEqual(written({ hugepageLimits: [{ pageSize: '2MB', limit: '0' }] }, V2), ['hugetlb.2MB.max=0']);
  });

  test('oom_score_adj is given as far as the daemon may go', () => {
    assert.deepEqual(grantedOomScoreAdj(limits({ oomScoreAdj: '-998' }), V1), { value: 0, clamped: true });
    assert.deepEqual(grantedOomScoreAdj(limits({ oomScoreAdj: '-998' }), V2), { value: -998, clamped: false });
    assert.equal(grantedOomScoreAdj({}, V1), undefined);
  });
});
