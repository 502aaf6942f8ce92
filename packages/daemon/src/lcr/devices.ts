/** Devices of a container: the nodes to bind and the device cgroup's allow list. */
import { readdir, realpath, stat } from 'node:fs/promises';
import type { Device } from '@berth/cri-api';
import type { PlannedMount } from './plan.ts';
import { errnoOf, invalid } from './refuse.ts';
import { type ContainerTree, normalise } from './resolve.ts';

/** mknod of anything, use of the harmless character devices, and pseudo terminals: the set that other runtimes allow. */
const DEFAULT_RULES = [
  'c *:* m',
  'b *:* m',
  'c 1:3 rwm', // null
  'c 1:5 rwm', // zero
  'c 1:7 rwm', // full
  'c 1:8 rwm', // random
  'c 1:9 rwm', // urandom
  'c 5:0 rwm', // tty
  'c 5:1 rwm', // console
  'c 5:2 rwm', // ptmx
  'c 136:* rwm', // pts
] as const;

/** Nodes that one `devices` entry that names a directory may stand for. */
const MAX_NODES = 1000;

export type PlannedDevices = { readonly mounts: readonly PlannedMount[]; readonly rules: readonly string[] };

/** Plans the request's devices. A directory means every device node below it, as other runtimes have it. */
export const planDevices = async (devices: readonly Device[], tree: ContainerTree): Promise<PlannedDevices> => {
  const mounts: PlannedMount[] = [];
  const rules: string[] = [...DEFAULT_RULES];
  for (const [index, device] of devices.entries()) {
    const field = `devices[${index}]`;
    const permissions = device.permissions || 'rwm';
    if (!/^(?!.*(.).*\1)[rwm]{1,3}$/.test(permissions))
      throw invalid(`${field}.permissions`, `"${permissions}" is not made of r, w and m`);
    const container = normalise(device.containerPath || device.hostPath);
    for (const node of await findNodes(device.hostPath, `${field}.host_path`)) {
      const target = await tree.resolve(`${field}.container_path`, `${container}${node.below}`, 'file');
      if (target.path === '/' || target.stats?.isDirectory())
        throw invalid(`${field}.container_path`, `${target.path} is a directory`);
      mounts.push({
        source: node.path,
        target: target.path,
        type: 'none',
        options: ['bind', ...(target.host === undefined ? ['create=file'] : [])],
      });
      rules.push(`${node.type} ${node.major}:${node.minor} ${permissions}`);
    }
  }
  return { mounts, rules };
};

type Node = {
  readonly path: string;
  readonly below: string;
  readonly type: 'b' | 'c';
  readonly major: number;
  readonly minor: number;
};

const findNodes = async (hostPath: string, field: string): Promise<readonly Node[]> => {
  if (!hostPath.startsWith('/')) throw invalid(field, `"${hostPath}" is not an absolute path`);
  try {
    const top = await realpath(hostPath);
    const nodes = await nodesBelow(top, '', field);
    if (nodes.length === 0) throw invalid(field, `${hostPath} is not a device and has none below it`);
    return nodes;
  } catch (error) {
    if (errnoOf(error) === undefined || (error instanceof Error && error.name === 'BerthError')) throw error;
    throw invalid(field, `${hostPath} cannot be used: ${errnoOf(error)}`);
  }
};

const nodesBelow = async (top: string, below: string, field: string): Promise<readonly Node[]> => {
  const path = `${top}${below}`;
  const stats = await stat(path, { bigint: true });
  if (stats.isCharacterDevice() || stats.isBlockDevice())
    return [{ path, below, type: stats.isBlockDevice() ? 'b' : 'c', ...deviceNumber(stats.rdev) }];
  if (!stats.isDirectory()) return [];
  const nodes: Node[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    // Links would bring in nodes under a second name, or things from elsewhere.
    if (entry.isDirectory() || entry.isCharacterDevice() || entry.isBlockDevice())
      nodes.push(...(await nodesBelow(top, `${below}/${entry.name}`, field)));
    if (nodes.length > MAX_NODES) throw invalid(field, `more than ${MAX_NODES} devices`);
  }
  return nodes;
};

/** makedev(3): the C library's split of a 64-bit device number into two of 32 bits. */
export const deviceNumber = (rdev: bigint): { readonly major: number; readonly minor: number } => ({
  major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n)),
  minor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n)),
});
