/** Where the LCR runtime keeps what: one place for every path below the state and root directories. */
import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';

/** Longest path that fits into sockaddr_un.sun_path with its NUL (108 bytes, unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

/** `/<64 hex digits>/shim.sock`: what a container adds to the state directory. */
const SOCKET_SUFFIX_BYTES = 1 + 64 + '/shim.sock'.length;

/** Longest state directory that still gives every container a socket path that fits. */
export const MAX_STATE_BYTES = MAX_SOCKET_PATH_BYTES - SOCKET_SUFFIX_BYTES;

/** Ids become directory and cgroup names: nothing but these may be in one. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** True for an id that can be used as a name of a directory and of a cgroup. */
export const isSafeId = (id: string): boolean => ID.test(id);

/** Directories and files of one container. */
export type ContainerPaths = {
  /** `<state>/<id>`: gone at reboot. */
  readonly state: string;
  readonly rootfs: string;
  readonly lxcPath: string;
  readonly lxcConfig: string;
  readonly lxcLog: string;
  readonly oom: string;
  readonly plan: string;
  /** Pid and start time of init, for containers that join its pid namespace. */
  readonly init: string;
  /** `<root>/containers/<id>`: kept. */
  readonly root: string;
  readonly upper: string;
  readonly work: string;
  readonly resources: string;
};

/** Directories and files of one pod; all of them below the state directory. */
export type PodPaths = {
  readonly dir: string;
  readonly net: string;
  readonly ipc: string;
  readonly uts: string;
  readonly pid: string;
  readonly pause: string;
  readonly shm: string;
  readonly resolvConf: string;
  readonly hostname: string;
  readonly hosts: string;
};

type Roots = Pick<Config, 'root' | 'state'>;

export const containerPaths = (config: Roots, id: string): ContainerPaths => {
  const state = `${config.state}/${id}`;
  const root = `${config.root}/containers/${id}`;
  return {
    state,
    rootfs: `${state}/rootfs`,
    lxcPath: `${state}/lxc`,
    lxcConfig: `${state}/lxc.conf`,
    lxcLog: `${state}/lxc.log`,
    oom: `${state}/oom`,
    plan: `${state}/plan.json`,
    init: `${state}/init.json`,
    root,
    upper: `${root}/upper`,
    work: `${root}/work`,
    resources: `${root}/resources.json`,
  };
};

export const podPaths = (config: Roots, id: string): PodPaths => {
  const dir = `${config.state}/pods/${id}`;
  return {
    dir,
    net: `${dir}/net`,
    ipc: `${dir}/ipc`,
    uts: `${dir}/uts`,
    pid: `${dir}/pid`,
    pause: `${dir}/pause.json`,
    shm: `${dir}/shm`,
    resolvConf: `${dir}/resolv.conf`,
    hostname: `${dir}/hostname`,
    hosts: `${dir}/hosts`,
  };
};

/** Read-only tmpfs with the shim and the hook scripts: containers execute it, so nobody may be able to write it. */
export const binDirectory = (config: Roots): string => `${config.state}/bin`;
export const shimBinary = (config: Roots): string => `${binDirectory(config)}/berth-shim`;
export const hostDevicesHook = (config: Roots): string => `${binDirectory(config)}/host-devices`;
/** Compiles seccomp policies; runs on the host only, so that it needs no protection from containers. */
export const seccompCompiler = ({ runtime }: Pick<Config, 'runtime'>): string => `${dirname(runtime.shim)}/berth-seccomp`;
/** Compiled seccomp policies, named after their content. */
export const seccompDirectory = (config: Roots): string => `${config.state}/seccomp`;

/** LXC's name of every container: each has an lxcpath of its own, so the name can be short. */
export const LXC_NAME = 'c';

/** What every user of LXC has in common: taken away while another's LXC makes the next folder, it makes that one fail. */
export const LXC_RUN: readonly string[] = ['/run/lxc', '/run/lxc/lock'];

/** Where LXC leaves its monitor FIFO and lock of an lxcpath. */
export const lxcRunDirectories = (lxcPath: string): readonly string[] => LXC_RUN.map((run) => `${run}${lxcPath}`);
