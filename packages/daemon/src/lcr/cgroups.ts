/** Finds the host's cgroup hierarchies: which controllers, where they are mounted, and which path LXC counts from. */
import { readFile } from 'node:fs/promises';
import { failed } from './refuse.ts';

/** One mounted hierarchy. */
export type Hierarchy = {
  readonly version: 1 | 2;
  /** `memory`; `cpu`, `cpuacct` where mounted together; `name=systemd`; empty for the unified hierarchy. */
  readonly controllers: readonly string[];
  /** Absolute directory that LXC's `lxc.cgroup.dir.*` values are below. */
  readonly base: string;
  /** True when the daemon itself is not in `base`: shims must be moved out of its cgroup. */
  readonly daemonElsewhere: boolean;
};

export type CgroupLayout = {
  /** `v1` covers the hybrid layout too: limits are set through v1 controllers there. */
  readonly limits: 'v1' | 'v2';
  readonly hierarchies: readonly Hierarchy[];
};

type CgroupLine = { readonly controllers: string; readonly path: string };

const parseCgroupFile = (text: string): readonly CgroupLine[] =>
  text
    .split('\n')
    .filter((line) => line.length > 0)
    .map((line) => {
      const [, controllers = '', ...path] = line.split(':');
      return { controllers, path: path.join(':') };
    });

/** LXC takes init's cgroup as its base and drops systemd's leaf for init itself (cgfsng, prune_init_scope). */
const withoutInitScope = (path: string): string => (path === '/init.scope' ? '/' : path.replace(/\/init\.scope$/, ''));

const below = (mountPoint: string, mountRoot: string, path: string): string => {
  const relative =
    mountRoot !== '/' && (path === mountRoot || path.startsWith(`${mountRoot}/`)) ? path.slice(mountRoot.length) : path;
  return relative === '/' || relative === '' ? mountPoint : `${mountPoint}${relative}`;
};

/** mountinfo writes blanks and the like as octal escapes. */
const unescapeMountinfo = (field: string): string =>
  field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Pure part: from the contents of `/proc/self/mountinfo`, `/proc/1/cgroup` and `/proc/self/cgroup`. */
export const parseCgroups = (mountinfo: string, initCgroup: string, selfCgroup: string): CgroupLayout => {
  const init = parseCgroupFile(initCgroup);
  const self = parseCgroupFile(selfCgroup);
  const hierarchies: Hierarchy[] = [];
  for (const line of mountinfo.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const [, , , root = '/', point = ''] = left.split(' ');
    const [type = '', , options = ''] = right.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') continue;
    const mountPoint = unescapeMountinfo(point);
    const flags = options.split(',');
    // The kernel writes the controllers of a v1 hierarchy in the same order here and in /proc/PID/cgroup.
    const ofMount = (entry: CgroupLine): boolean =>
      type === 'cgroup2'
        ? entry.controllers === ''
        : entry.controllers !== '' && entry.controllers.split(',').every((name) => flags.includes(name));
    const base = withoutInitScope(init.find(ofMount)?.path ?? '/');
    const own = self.find(ofMount);
    const entry = init.find(ofMount) ?? own;
    if (entry === undefined) continue;
    const hierarchy: Hierarchy = {
      version: type === 'cgroup2' ? 2 : 1,
      controllers: entry.controllers === '' ? [] : entry.controllers.split(','),
      base: below(mountPoint, unescapeMountinfo(root), base),
      daemonElsewhere: own !== undefined && own.path !== base,
    };
    // A hierarchy that is mounted twice is still one.
    if (
      !hierarchies.some((known) => known.version === hierarchy.version && known.controllers.join() === hierarchy.controllers.join())
    )
      hierarchies.push(hierarchy);
  }
  if (hierarchies.length === 0) throw failed('no cgroup hierarchy is mounted');
  return { limits: hierarchies.some((h) => h.version === 1 && !h.controllers[0]?.startsWith('name=')) ? 'v1' : 'v2', hierarchies };
};

/** Reads the host's layout. */
export const detectCgroups = async (): Promise<CgroupLayout> => {
  const [mountinfo, init, self] = await Promise.all(
    ['/proc/self/mountinfo', '/proc/1/cgroup', '/proc/self/cgroup'].map((path) => readFile(path, 'utf8')),
  );
  return parseCgroups(mountinfo ?? '', init ?? '', self ?? '');
};

/** The hierarchy of a v1 controller, if it is mounted. */
export const hierarchyOf = (layout: CgroupLayout, controller: string): Hierarchy | undefined =>
  layout.hierarchies.find((hierarchy) => hierarchy.controllers.includes(controller));

/** The directory of a cgroup in every hierarchy; the one that is best for finding processes first. */
export const cgroupDirectories = (layout: CgroupLayout, cgroup: string): readonly string[] => {
  // The unified hierarchy can kill a whole tree with one write (cgroup.kill), so it goes first.
  const order = (hierarchy: Hierarchy): number => (hierarchy.version === 2 ? 0 : hierarchy.controllers.includes('pids') ? 1 : 2);
  return [...layout.hierarchies].sort((a, b) => order(a) - order(b)).map((hierarchy) => `${hierarchy.base}/${cgroup}`);
};

/** The cgroups of a pod's container, relative as LXC wants them. */
export type ContainerCgroups = {
  readonly pod: string;
  readonly container: string;
  readonly monitor: string;
  readonly pivot: string;
};

/** `parent` is the pod's cgroup parent, `own` the daemon's for what is not the container's: LXC's monitors. */
export const containerCgroups = (parent: string, own: string, podId: string, id: string): ContainerCgroups => {
  const clean = (path: string): string => path.replace(/^\/+|\/+$/g, '');
  const pod = [clean(parent), podId].filter((part) => part !== '').join('/');
  const monitors = [clean(own), 'monitors'].filter((part) => part !== '').join('/');
  return { pod, container: `${pod}/${id}`, monitor: `${monitors}/${id}`, pivot: monitors };
};
