/** Devices of a container: the nodes to make and the device cgroup's allow list. */
import type { Stats } from 'node:fs';
import { lchown, readdir, realpath, stat } from 'node:fs/promises';
import type { Device } from '@berth/cri-api';
import { errnoOf } from '../util/errno.ts';
import type { PlannedNode } from './plan.ts';
import { invalid } from './refuse.ts';
import { type ContainerTree, isAtOrBelow, normalise } from './resolve.ts';
import { must } from './spawn.ts';

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

/** Nodes that one request may ask for, as a directory stands for many: each is a process of LXC's at the start. */
const MAX_NODES = 1000;
const PERMISSIONS = 0o7777n;

export type PlannedDevices = { readonly nodes: readonly PlannedNode[]; readonly rules: readonly string[] };

/**
 * Plans the request's devices. A directory means every device node below it, as other runtimes have it. The nodes are made anew in the
 * container's own /dev, or in its root file system: one that is bound is the host's, and the container could change its mode and owner for
 * everybody. Where a volume is at or above a device's place (`covers`), the volume must have the device there, and only the permission is
 * given.
 */
export const planDevices = async (
  devices: readonly Device[],
  tree: ContainerTree,
  covers: readonly string[],
): Promise<PlannedDevices> => {
  const nodes = new Map<string, PlannedNode>();
  const rules: string[] = [...DEFAULT_RULES];
  let left = MAX_NODES;
  for (const [index, device] of devices.entries()) {
    const field = `devices[${index}]`;
    const permissions = device.permissions || 'rwm';
    if (!/^(?!.*(.).*\1)[rwm]{1,3}$/.test(permissions))
      throw invalid(`${field}.permissions`, `"${permissions}" is not made of r, w and m`);
    const container = normalise(device.containerPath || device.hostPath);
    const found = await findNodes(device.hostPath, `${field}.host_path`, left);
    left -= found.length;
    for (const { below, ...node } of found) {
      rules.push(`${node.type} ${node.major}:${node.minor} ${permissions}`);
      const path = await placeOf(`${field}.container_path`, `${container}${below}`, node, tree, covers);
      if (path !== undefined) nodes.set(path, { path, ...node });
    }
  }
  return { nodes: [...nodes.values()], rules };
};

/** Where a node is to be made; undefined: it is there, in a volume. */
const placeOf = async (
  field: string,
  containerPath: string,
  node: Omit<PlannedNode, 'path'>,
  tree: ContainerTree,
  covers: readonly string[],
): Promise<string | undefined> => {
  const { path, mount, stats } = await tree.resolve(field, containerPath);
  if (covers.some((cover) => isAtOrBelow(path, cover))) {
    if (stats !== undefined && isNode(stats, node)) return undefined;
    throw invalid(field, `${path} is in a volume that does not have this device there`);
  }
  if (isInDev(path)) {
    if (mount?.host !== undefined) throw invalid(field, `${path} is not in the container's own /dev`);
    return path;
  }
  // A raw block volume of Kubernetes may be anywhere.
  if (mount !== undefined) throw invalid(field, `${path} is neither in the container's own /dev nor in its root file system`);
  if (stats !== undefined) throw invalid(field, `${path} is there already`);
  await tree.resolve(field, path.slice(0, path.lastIndexOf('/')) || '/', 'directory');
  return path;
};

const isNode = (stats: Stats, { type, major, minor }: Omit<PlannedNode, 'path'>): boolean => {
  const number = deviceNumber(BigInt(stats.rdev));
  return (type === 'b' ? stats.isBlockDevice() : stats.isCharacterDevice()) && number.major === major && number.minor === minor;
};

/** Whether a node's place is in the container's /dev, which exists only once the container runs. */
export const isInDev = (path: string): boolean => path.startsWith('/dev/');

/** Makes those nodes that are in the root file system, which nobody runs in yet: no link of somebody else's is on the way. */
export const makeRootNodes = async (rootfs: string, nodes: readonly PlannedNode[]): Promise<void> => {
  for (const { path, type, major, minor, mode, uid, gid } of nodes.filter((node) => !isInDev(node.path))) {
    const file = `${rootfs}${path}`;
    await must('mknod', ['-m', mode.toString(8), '--', file, type, String(major), String(minor)]);
    await lchown(file, uid, gid);
  }
};

/** A node of the host; `below` is its path below the entry's. */
type Node = Omit<PlannedNode, 'path'> & { readonly below: string };

const findNodes = async (hostPath: string, field: string, most: number): Promise<readonly Node[]> => {
  if (!hostPath.startsWith('/')) throw invalid(field, `"${hostPath}" is not an absolute path`);
  try {
    const nodes = await nodesBelow(await realpath(hostPath), '', field, most);
    if (nodes.length === 0) throw invalid(field, `${hostPath} is not a device and has none below it`);
    return nodes;
  } catch (error) {
    if (errnoOf(error) === undefined || (error instanceof Error && error.name === 'BerthError')) throw error;
    throw invalid(field, `${hostPath} cannot be used: ${errnoOf(error)}`);
  }
};

const nodesBelow = async (top: string, below: string, field: string, most: number): Promise<readonly Node[]> => {
  const path = `${top}${below}`;
  const stats = await stat(path, { bigint: true });
  const nodes: Node[] = [];
  if (stats.isCharacterDevice() || stats.isBlockDevice()) {
    const [mode, uid, gid] = [Number(stats.mode & PERMISSIONS), Number(stats.uid), Number(stats.gid)];
    nodes.push({ below, type: stats.isBlockDevice() ? 'b' : 'c', ...deviceNumber(stats.rdev), mode, uid, gid });
  } else if (stats.isDirectory())
    // Links would bring in nodes under a second name, or things from elsewhere.
    for (const entry of await readdir(path, { withFileTypes: true }))
      if (entry.isDirectory() || entry.isCharacterDevice() || entry.isBlockDevice())
        nodes.push(...(await nodesBelow(top, `${below}/${entry.name}`, field, most - nodes.length)));
  if (nodes.length > most) throw invalid(field, `more than ${MAX_NODES} devices`);
  return nodes;
};

/** makedev(3): the C library's split of a 64-bit device number into two of 32 bits. */
export const deviceNumber = (rdev: bigint): { readonly major: number; readonly minor: number } => ({
  major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n)),
  minor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n)),
});
