/** What CreateContainer decided and StartContainer needs: plain data, kept as JSON beside the container. */

/** One `lxc.mount.entry`. Paths are container paths without links; the generator makes them relative. */
export type PlannedMount = {
  /** Host path, or a name for file systems without a source. */
  readonly source: string;
  readonly target: string;
  readonly type: 'none' | 'tmpfs' | 'mqueue';
  readonly options: readonly string[];
};

export type PlannedNamespaces = {
  /** Namespaces that LXC makes anew; `mnt` and `cgroup` always are among them. */
  readonly clone: readonly ('mnt' | 'cgroup' | 'pid' | 'ipc' | 'uts' | 'net')[];
  /** Pinned namespaces to join, by path. */
  readonly share: Readonly<Partial<Record<'net' | 'ipc' | 'uts' | 'pid', string>>>;
};

/** A mount in the peer group of the host's: bound by a hook, behind all of LXC's mounts. */
export type SharedMount = { readonly source: string; readonly target: string; readonly readOnly: boolean };

/** A device node of the container's own, like the host's in everything but its place: in its /dev, by a hook, or in its root file system. */
export type PlannedNode = {
  /** Container path without links. */
  readonly path: string;
  readonly type: 'b' | 'c';
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
};

/** A container whose recursively read-only sources have mounts below them: looked up again at start. */
export type RecursiveReadOnly = { readonly source: string; readonly target: string };

/** Rises when an older plan would mean something else to this daemon: such a container has to be made again. */
export const PLAN_VERSION = 2;

export type ContainerPlan = {
  readonly version: typeof PLAN_VERSION;
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };
  readonly home: string;
  readonly hostname: string;
  readonly cwd: string;
  readonly readOnlyRootfs: boolean;
  readonly privileged: boolean;
  readonly mounts: readonly PlannedMount[];
  readonly recursiveReadOnly: readonly RecursiveReadOnly[];
  /** Absent: none. */
  readonly shared?: readonly SharedMount[];
  /** Absent: none. */
  readonly nodes?: readonly PlannedNode[];
  /** Paths that are hidden and paths that are made read-only, applied after all mounts. */
  readonly masked: readonly { readonly path: string; readonly directory: boolean }[];
  readonly readOnlyPaths: readonly string[];
  /** False where a volume takes the place of /dev, /sys or /sys/fs/cgroup. */
  readonly own: { readonly dev: boolean; readonly sys: boolean; readonly cgroup: boolean };
  readonly namespaces: PlannedNamespaces;
  /** Container whose pid namespace is joined, looked up at start. */
  readonly pidTarget?: string;
  /** Bounding set, 16 hex digits; absent: everything that the daemon has. */
  readonly capabilities?: string;
  readonly noNewPrivileges: boolean;
  /** Path of the compiled filter; absent: unconfined. */
  readonly seccomp?: string;
  /** `lxc.apparmor.profile`; absent: LXC's own default, where the host has AppArmor at all. */
  readonly apparmor?: string;
  /** Device cgroup rules that are allowed after everything was denied; absent: all devices. */
  readonly devices?: readonly string[];
  readonly cgroups: { readonly pod: string; readonly container: string; readonly monitor: string; readonly pivot: string };
  readonly stopSignal: number;
  readonly logDirectory?: string;
  readonly logPath?: string;
};
