/** Writes LXC's configuration of a container: a pure function from plan and limits to text, compared with golden files. */
import { isInDev } from './devices.ts';
import type { HostFacts } from './host-facts.ts';
import { line, mountField, shellWord } from './lxc-escape.ts';
import type { ContainerPaths } from './paths.ts';
import type { ContainerPlan, PlannedMount, PlannedNode } from './plan.ts';
import { cgroupSettings, grantedOomScoreAdj, type Limits, settingDirectory } from './resources.ts';

/** Terminals that a container may open in its own devpts: the kernel's default for one instance is far beyond any use. */
const MAX_PTYS = 1024;
/** Room in the container's /dev, as other runtimes give: LXC's own half MiB is too little for some programs. */
const DEV_BYTES = 64 * 1024 * 1024;
export type ConfigInput = {
  readonly plan: ContainerPlan;
  readonly limits: Limits;
  /** The plan's mounts and those that are known only at start. */
  readonly mounts: readonly PlannedMount[];
  readonly facts: HostFacts;
  readonly paths: Pick<ContainerPaths, 'rootfs' | 'oom' | 'lxcLog'>;
  readonly shim: string;
  readonly hostDevicesHook: string;
  /** `/proc/PID/ns/pid` of the target container, where one is joined. */
  readonly pidNamespace?: string;
};

/** The whole file. Throws `BerthError` for a value that LXC cannot be told. */
export const lxcConfig = (input: ConfigInput): string => {
  const { plan } = input;
  return [
    ...rootfsLines(input),
    ...namespaceLines(input),
    ...input.mounts.map(mountLine),
    ...terminalLines(plan),
    ...sharedLines(input),
    ...protectionLines(plan),
    ...identityLines(input),
    ...cgroupLines(input),
  ].join('');
};

const rootfsLines = ({ plan, paths, shim, hostDevicesHook }: ConfigInput): readonly string[] => [
  line('lxc.rootfs.path', `dir:${paths.rootfs}`),
  ...(plan.readOnlyRootfs ? [line('lxc.rootfs.options', 'ro')] : []),
  // The shim owns stdin, stdout and stderr; LXC's console would be a second, lossy one.
  line('lxc.console.path', 'none'),
  line('lxc.tty.max', '0'),
  // A volume at /dev is somebody's, perhaps the host's own /dev: for terminals of its own LXC would replace the ptmx in it.
  line('lxc.pty.max', plan.own.dev ? String(MAX_PTYS) : '0'),
  line('lxc.autodev', plan.own.dev ? '1' : '0'),
  ...(plan.own.dev ? [line('lxc.autodev.tmpfs.size', String(DEV_BYTES))] : []),
  // Before the host's: a node that was asked for has its place first.
  ...(plan.nodes ?? []).filter(({ path }) => isInDev(path)).map((node) => nodeLine(node, shim, paths.lxcLog)),
  ...(plan.privileged && plan.own.dev ? [line('lxc.hook.autodev', shellWord(hostDevicesHook))] : []),
  line('lxc.mount.auto', autoMounts(plan)),
];

const nodeLine = ({ path, type, major, minor, mode, uid, gid }: PlannedNode, shim: string, log: string): string => {
  const words = [shim, 'node', log, type, ...[major, minor, mode, uid, gid].map(String), path.slice('/dev/'.length)];
  return line('lxc.hook.autodev', words.map(shellWord).join(' '));
};

const autoMounts = ({ privileged, own }: ContainerPlan): string =>
  // proc:rw, because the read-only paths of the request say which parts of it are not.
  [
    'proc:rw',
    ...(own.sys ? [privileged ? 'sys:rw' : 'sys:ro'] : []),
    ...(own.cgroup ? [privileged ? 'cgroup:rw:force' : 'cgroup:ro:force'] : []),
  ].join(' ');

const namespaceLines = ({ plan, pidNamespace }: ConfigInput): readonly string[] => {
  const { clone, share } = plan.namespaces;
  const joined = pidNamespace === undefined ? share : { ...share, pid: pidNamespace };
  return [
    line('lxc.namespace.clone', clone.join(' ')),
    ...Object.entries(joined).map(([name, path]) => line(`lxc.namespace.share.${name}`, path)),
    // Without a network of its own LXC must not make an interface; with a joined one neither.
    ...(clone.includes('net') ? [line('lxc.net.0.type', 'empty')] : []),
  ];
};

const mountLine = ({ source, target, type, options }: PlannedMount): string =>
  line('lxc.mount.entry', `${mountField('mounts', source)} ${relative(target)} ${type} ${options.join(',')} 0 0`);

/**
 * LXC 5 unmounts what is at /dev/pts even where it is to mount nothing there. With a volume at /dev it gets a mount of ours to take away, and
 * the terminals of the volume stay; an LXC that leaves it gives the container terminals of its own.
 */
const terminalLines = ({ own }: ContainerPlan): readonly string[] =>
  own.dev ? [] : [line('lxc.mount.entry', 'devpts dev/pts devpts ptmxmode=0666,mode=0620,gid=5,optional 0 0')];

/** LXC makes every mount of the container's namespace a slave: what is shared with the host comes in from outside, last of all. */
const sharedLines = ({ plan, shim, paths }: ConfigInput): readonly string[] =>
  (plan.shared ?? []).map(({ source, target, readOnly }) => {
    const words = [shim, 'bind', paths.lxcLog, source, target, readOnly ? 'ro' : 'rw'];
    return line('lxc.hook.start-host', words.map(shellWord).join(' '));
  });

const relative = (target: string): string => mountField('mounts', target.slice(1));

const protectionLines = (plan: ContainerPlan): readonly string[] => [
  ...plan.readOnlyPaths.map((path) =>
    line('lxc.mount.entry', `${relative(path)} ${relative(path)} none rbind,ro,relative,optional 0 0`),
  ),
  ...plan.masked.map(({ path, directory }) =>
    line(
      'lxc.mount.entry',
      directory ? `tmpfs ${relative(path)} tmpfs ro,size=0k,optional 0 0` : `/dev/null ${relative(path)} none bind,ro,optional 0 0`,
    ),
  ),
];

/** User, groups, capabilities, no_new_privs, limits and the seccomp filter are the trampoline's: shim-config.ts. */
const identityLines = ({ plan, limits, facts }: ConfigInput): readonly string[] => {
  const oom = grantedOomScoreAdj(limits, facts);
  return [
    ...(plan.apparmor === undefined ? [] : [line('lxc.apparmor.profile', plan.apparmor)]),
    ...(oom === undefined ? [] : [line('lxc.proc.oom_score_adj', String(oom.value))]),
  ];
};

const cgroupLines = ({ plan, limits, facts, paths, shim }: ConfigInput): readonly string[] => {
  const v1 = facts.cgroups.limits === 'v1';
  const prefix = v1 ? 'lxc.cgroup' : 'lxc.cgroup2';
  const memory = settingDirectory(facts.cgroups, 'memory', plan.cgroups.container);
  const counter = memory && `${memory}/${v1 ? 'memory.oom_control' : 'memory.events'}`;
  return [
    line('lxc.cgroup.dir.container', plan.cgroups.container),
    line('lxc.cgroup.dir.monitor', plan.cgroups.monitor),
    line('lxc.cgroup.dir.monitor.pivot', plan.cgroups.pivot),
    ...(plan.devices === undefined
      ? []
      : [line(`${prefix}.devices.deny`, 'a'), ...plan.devices.map((rule) => line(`${prefix}.devices.allow`, rule))]),
    ...cgroupSettings(limits, facts).map(({ file, value }) => line(`${prefix}.${file}`, value)),
    // LXC removes the cgroup right after init's end; this hook is the last one that can see its counters.
    ...(counter ? [line('lxc.hook.stop', `${shellWord(shim)} oom-hook ${shellWord(counter)} ${shellWord(paths.oom)}`)] : []),
  ];
};
