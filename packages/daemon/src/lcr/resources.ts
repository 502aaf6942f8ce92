/** CRI's resource limits as cgroup files, for LXC's config at start and for writing to a running container. */
import type { LinuxContainerResources } from '@berth/cri-api';
import { type CgroupLayout, hierarchyOf } from './cgroups.ts';
import type { HostFacts } from './host-facts.ts';
import { hostCannot, invalid, notBuilt } from './refuse.ts';

/** Limits as they are kept: CRI's fields without those that were not given. Integers as decimal strings (they are 64 bits wide). */
export type Limits = {
  readonly cpuPeriod?: string;
  readonly cpuQuota?: string;
  readonly cpuShares?: string;
  readonly memory?: string;
  readonly memorySwap?: string;
  readonly oomScoreAdj?: string;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly hugepages?: Readonly<Record<string, string>>;
  readonly unified?: Readonly<Record<string, string>>;
};

/** One cgroup file and what to write into it. */
export type CgroupSetting = { readonly controller: string; readonly file: string; readonly value: string };

const AT = 'linux.resources';
/** What the kernel takes for cpu.shares; CRI callers give 0 for "not set" and 2 for "as little as possible". */
const MIN_SHARES = 2n;
const MAX_SHARES = 262_144n;
/** The CFS period that belongs to a quota without one, microseconds: the kernel's default. */
const DEFAULT_PERIOD = '100000';
const UNLIMITED = -1n;
/** With less the kernel kills what starts a container before its command runs, and LXC waits for it for ever. */
const LEAST_MEMORY_BYTES = 512n * 1024n;
/** What the kernel takes for a period and a quota, microseconds (Documentation/scheduler/sched-bwc.rst). */
const LEAST_CPU_TIME = 1_000n;
const LONGEST_PERIOD = 1_000_000n;

/** A list of cpus or memory nodes: `0-3,7`. */
const CPU_LIST = /^\d+(-\d+)?(,\d+(-\d+)?)*$/;

const text = (value: bigint, field: string, least: bigint, most?: bigint): string | undefined => {
  if (value === 0n) return undefined;
  if (value < least || (most !== undefined && value > most))
    throw invalid(
      `${AT}.${field}`,
      `${value} is out of range: ${most === undefined ? `at least ${least}` : `${least} to ${most}`}`,
    );
  return value.toString();
};

/** The same for a limit that -1 takes away. */
const limit = (value: bigint, field: string, least: bigint): string | undefined =>
  value === UNLIMITED ? value.toString() : text(value, field, least);

/** Drops the undefined ones, as `exactOptionalPropertyTypes` wants it. */
const given = (limits: { readonly [K in keyof Limits]: Limits[K] | undefined }): Limits =>
  Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));

/** Checks a request's resources. 0 and empty mean "not set", as CRI has it. Throws `BerthError` naming the field. */
export const parseLimits = (resources: LinuxContainerResources | undefined): Limits => {
  if (resources === undefined) return {};
  for (const [field, list] of [
    ['cpuset_cpus', resources.cpusetCpus],
    ['cpuset_mems', resources.cpusetMems],
  ] as const)
    if (list !== '' && !CPU_LIST.test(list)) throw invalid(`${AT}.${field}`, `"${list}" is not a list like 0-3,7`);
  for (const { pageSize } of resources.hugepageLimits)
    if (!/^\d+[KMG]B$/.test(pageSize)) throw invalid(`${AT}.hugepage_limits`, `"${pageSize}" is not a page size like 2MB`);
  for (const [key, value] of Object.entries(resources.unified))
    if (!/^[a-z][a-z0-9_]*\.[A-Za-z0-9_.]+$/.test(key) || /[\0\n]/.test(value))
      throw invalid(`${AT}.unified`, `"${key}" is not a cgroup v2 file`);
  const shares = resources.cpuShares;
  return given({
    cpuPeriod: text(resources.cpuPeriod, 'cpu_period', LEAST_CPU_TIME, LONGEST_PERIOD),
    cpuQuota: limit(resources.cpuQuota, 'cpu_quota', LEAST_CPU_TIME),
    cpuShares: text(shares > 0n && shares < MIN_SHARES ? MIN_SHARES : shares > MAX_SHARES ? MAX_SHARES : shares, 'cpu_shares', 1n),
    memory: limit(resources.memoryLimitInBytes, 'memory_limit_in_bytes', LEAST_MEMORY_BYTES),
    memorySwap: text(resources.memorySwapLimitInBytes, 'memory_swap_limit_in_bytes', UNLIMITED),
    oomScoreAdj: oomScoreAdj(resources.oomScoreAdj),
    cpusetCpus: resources.cpusetCpus || undefined,
    cpusetMems: resources.cpusetMems || undefined,
    hugepages:
      resources.hugepageLimits.length === 0
        ? undefined
        : Object.fromEntries(resources.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit.toString()])),
    unified: Object.keys(resources.unified).length === 0 ? undefined : { ...resources.unified },
  });
};

const oomScoreAdj = (value: bigint): string | undefined => {
  if (value < -1000n || value > 1000n) throw invalid(`${AT}.oom_score_adj`, `${value} is not between -1000 and 1000`);
  return value === 0n ? undefined : value.toString();
};

/** Later limits win, field by field, of cgroup v2's files file by file: what UpdateContainerResources means, and the status shows. */
export const mergeLimits = (before: Limits, after: Limits): Limits => ({
  ...before,
  ...after,
  ...(before.unified && after.unified ? { unified: { ...before.unified, ...after.unified } } : {}),
});

/** cgroup v2's weight (1-10000) for v1's shares (2-262144), by Kubernetes' formula (KEP-2254). */
export const sharesToWeight = (shares: bigint): bigint => 1n + ((shares - 2n) * 9999n) / 262_142n;

/**
 * The files to write, in an order that the kernel accepts when nothing is set yet.
 * @throws BerthError when the host lacks the controller of a limit that was asked for.
 */
export const cgroupSettings = (limits: Limits, facts: HostFacts): readonly CgroupSetting[] =>
  facts.cgroups.limits === 'v1' ? settingsV1(limits, facts) : settingsV2(limits, facts);

const settingsV1 = (limits: Limits, facts: HostFacts): readonly CgroupSetting[] => {
  const settings: CgroupSetting[] = [];
  const put = (field: string, controller: string, file: string, value: string | undefined): void => {
    if (value === undefined) return;
    if (hierarchyOf(facts.cgroups, controller) === undefined)
      throw hostCannot(`${AT}.${field}`, `the host has no ${controller} controller`);
    settings.push({ controller, file, value });
  };
  if (limits.unified) throw hostCannot(`${AT}.unified`, 'the host sets limits through cgroup v1');
  put('cpu_shares', 'cpu', 'cpu.shares', limits.cpuShares);
  put('cpu_period', 'cpu', 'cpu.cfs_period_us', limits.cpuPeriod);
  put('cpu_quota', 'cpu', 'cpu.cfs_quota_us', limits.cpuQuota);
  put('memory_limit_in_bytes', 'memory', 'memory.limit_in_bytes', limits.memory);
  if (limits.memorySwap !== undefined) {
    if (!facts.swapLimit) throw hostCannot(`${AT}.memory_swap_limit_in_bytes`, 'the kernel does not account for swap');
    put('memory_swap_limit_in_bytes', 'memory', 'memory.memsw.limit_in_bytes', limits.memorySwap);
  }
  put('cpuset_cpus', 'cpuset', 'cpuset.cpus', limits.cpusetCpus);
  put('cpuset_mems', 'cpuset', 'cpuset.mems', limits.cpusetMems);
  for (const [size, limit] of hugepages(limits, hierarchyOf(facts.cgroups, 'hugetlb') !== undefined))
    put('hugepage_limits', 'hugetlb', `hugetlb.${size}.limit_in_bytes`, limit);
  return settings;
};

/** Kubelets always send a limit of 0 for every page size: without the controller that is nothing to refuse, any other limit is. */
const hugepages = (limits: Limits, available: boolean): readonly (readonly [string, string])[] => {
  const wanted = Object.entries(limits.hugepages ?? {});
  if (available) return wanted;
  const refused = wanted.find(([, limit]) => limit !== '0');
  if (refused) throw hostCannot(`${AT}.hugepage_limits`, `the host has no hugetlb controller to limit ${refused[0]} pages`);
  return [];
};

const settingsV2 = (limits: Limits, facts: HostFacts): readonly CgroupSetting[] => {
  const settings: CgroupSetting[] = [];
  const put = (field: string, controller: string, file: string, value: string | undefined): void => {
    if (value === undefined) return;
    if (!facts.unifiedControllers.includes(controller))
      throw hostCannot(`${AT}.${field}`, `the host has no ${controller} controller`);
    settings.push({ controller, file, value });
  };
  const orMax = (value: string | undefined): string | undefined => (value === '-1' ? 'max' : value);
  if (limits.cpuShares !== undefined) put('cpu_shares', 'cpu', 'cpu.weight', sharesToWeight(BigInt(limits.cpuShares)).toString());
  if (limits.cpuQuota !== undefined || limits.cpuPeriod !== undefined)
    put('cpu_quota', 'cpu', 'cpu.max', `${orMax(limits.cpuQuota) ?? 'max'} ${limits.cpuPeriod ?? DEFAULT_PERIOD}`);
  put('memory_limit_in_bytes', 'memory', 'memory.max', orMax(limits.memory));
  if (limits.memorySwap !== undefined)
    put('memory_swap_limit_in_bytes', 'memory', 'memory.swap.max', swapOnly(limits.memorySwap, limits.memory));
  put('cpuset_cpus', 'cpuset', 'cpuset.cpus', limits.cpusetCpus);
  put('cpuset_mems', 'cpuset', 'cpuset.mems', limits.cpusetMems);
  for (const [size, limit] of hugepages(limits, facts.unifiedControllers.includes('hugetlb')))
    put('hugepage_limits', 'hugetlb', `hugetlb.${size}.max`, limit);
  for (const [file, value] of Object.entries(limits.unified ?? {})) {
    const field = `unified["${file}"]`;
    // A device filter or a frozen start would break what the runtime itself sets up.
    if (file.startsWith('cgroup.')) throw notBuilt(`${AT}.${field}`, 'is not for containers to set');
    put(field, file.slice(0, file.indexOf('.')), file, value);
  }
  return settings;
};

/** CRI's limit is memory plus swap, v2 limits swap alone. */
const swapOnly = (memorySwap: string, memory: string | undefined): string => {
  if (memorySwap === '-1') return 'max';
  if (memory === undefined || memory === '-1') throw invalid(`${AT}.memory_swap_limit_in_bytes`, 'needs a memory limit');
  const swap = BigInt(memorySwap) - BigInt(memory);
  if (swap < 0n) throw invalid(`${AT}.memory_swap_limit_in_bytes`, 'must not be below the memory limit');
  return swap.toString();
};

/** The directory of a container's cgroup that has a controller's files; undefined when it is not mounted. */
export const settingDirectory = (layout: CgroupLayout, controller: string, cgroup: string): string | undefined => {
  const hierarchy = layout.limits === 'v1' ? hierarchyOf(layout, controller) : layout.hierarchies.find((h) => h.version === 2);
  return hierarchy && `${hierarchy.base}/${cgroup}`;
};

/** The oom_score_adj to give: as asked, but not below what this process may give. */
export const grantedOomScoreAdj = (
  limits: Limits,
  facts: HostFacts,
): { readonly value: number; readonly clamped: boolean } | undefined => {
  if (limits.oomScoreAdj === undefined) return undefined;
  const asked = Number(limits.oomScoreAdj);
  return { value: Math.max(asked, facts.lowestOomScoreAdj), clamped: asked < facts.lowestOomScoreAdj };
};
