/** Decides everything about a container at CreateContainer: checks every field, resolves users and paths in the mounted root. */
import type { ContainerConfig } from '@berth/cri-api';
import type { ContainerSpec } from '../runtime/runtime.ts';
import { capabilityMask, containerCapabilities } from './capabilities.ts';
import { containerCgroups } from './cgroups.ts';
import { planDevices } from './devices.ts';
import { makeImageVolumes } from './image-volumes.ts';
import type { LcrHost } from './lcr-host.ts';
import { logLocation } from './log-location.ts';
import { mountsAt, planVolumes } from './mounts.ts';
import { containerNamespaces } from './namespaces.ts';
import { type ContainerPaths, podPaths } from './paths.ts';
import { type ContainerPlan, PLAN_VERSION } from './plan.ts';
import { checkPod } from './pod-check.ts';
import { planProtectedPaths } from './protected-paths.ts';
import { processSpec } from './process-spec.ts';
import { invalid, notBuilt } from './refuse.ts';
import { ContainerTree } from './resolve.ts';
import { cgroupSettings, type Limits, parseLimits } from './resources.ts';
import { refuseProtectedBelowShared } from './shared-mounts.ts';
import { apparmorProfile, refuseSelinux, seccompPolicy } from './security-profiles.ts';
import { stopSignal } from './signals.ts';
import { planPodFiles, planSharedMemory } from './standard-mounts.ts';
import { type ContainerUser, resolveUser } from './users.ts';

/** What can be decided before anything is mounted. */
export type CheckedContainer = {
  readonly limits: Limits;
  readonly capabilities: bigint;
  readonly privileged: boolean;
  /** Text of the policy file; undefined: unconfined. */
  readonly seccomp: string | undefined;
};

/** @throws BerthError naming the first field that is wrong, not honoured, or impossible on this host. */
export const checkContainer = async (host: LcrHost, { config, pod, image }: ContainerSpec): Promise<CheckedContainer> => {
  const { facts } = host;
  const context = config.linux?.securityContext;
  if (config.windows) throw invalid('windows', 'this is a Linux host');
  if (config.CDIDevices.length > 0) throw notBuilt('CDI_devices');
  const privileged = context?.privileged ?? false;
  if (privileged && !pod.config.linux?.securityContext?.privileged)
    throw invalid('linux.security_context.privileged', 'the pod is not privileged');
  refuseSelinux(context?.selinuxOptions, facts);
  const capabilities = containerCapabilities(context?.capabilities, privileged, facts.capabilities);
  const limits = parseLimits(config.linux?.resources);
  // Refuses limits that the host has no controller for, before anything is made.
  cgroupSettings(limits, facts);
  // Checks the command; the real one follows when the user's home is known.
  processSpec(config, image.run, '', '/');
  return { limits, capabilities, privileged, seccomp: await seccompPolicy(context, capabilities, facts) };
};

/** Puts the plan together. The root file system is mounted; `seccompFile` is where the compiled policy is. */
export const planContainer = async (
  host: LcrHost,
  spec: ContainerSpec,
  paths: ContainerPaths,
  { capabilities, privileged }: CheckedContainer,
  seccompFile: string | undefined,
): Promise<ContainerPlan> => {
  const { config, pod, image } = spec;
  const context = config.linux?.securityContext;
  const checkedPod = checkPod(pod.config, pod.id, host.facts);
  const shared = podPaths(host.config, pod.id);
  const own = {
    dev: !mountsAt(config.mounts, '/dev'),
    sys: !mountsAt(config.mounts, '/sys'),
    cgroup: !mountsAt(config.mounts, '/sys') && !mountsAt(config.mounts, '/sys/fs/cgroup'),
  };
  const tree = new ContainerTree(paths.rootfs);
  await prepareTree(tree, own);
  await makeImageVolumes(image.run.volumes, config.mounts, tree);
  const user = await findUser(tree, config, image.run.user);
  const readOnlyRootfs = context?.readonlyRootfs ?? false;
  const memory = own.dev ? planSharedMemory(tree, checkedPod.namespaces.ipc, shared) : [];
  const volumes = await planVolumes(config.mounts, tree, host.facts.selinux);
  const covers = [...volumes.mounts, ...volumes.shared].map(({ target }) => target);
  const devices = await planDevices(config.devices, tree, covers);
  // Behind the volumes, in the tree and in the plan: a volume over /etc would hide them otherwise.
  const files = await planPodFiles(tree, shared, readOnlyRootfs, volumes.shared);
  const hidden = privileged
    ? { masked: [], readOnly: [] }
    : await planProtectedPaths(context?.maskedPaths ?? [], context?.readonlyPaths ?? [], tree);
  refuseProtectedBelowShared(hidden, volumes.shared);
  const { cwd } = processSpec(config, image.run, checkedPod.hostname, user.home);
  // Other runtimes make a missing working directory. What is wrong with one that cannot be looked at yet (below /dev), the start says.
  await tree.resolve('working_dir', cwd, 'directory');
  const apparmor = apparmorProfile(context, host.facts);
  const { namespaces, pidTarget } = containerNamespaces(context?.namespaceOptions, checkedPod.namespaces, shared);
  return {
    version: PLAN_VERSION,
    user: { uid: user.uid, gid: user.gid, groups: user.groups },
    home: user.home,
    hostname: checkedPod.hostname,
    cwd,
    readOnlyRootfs,
    privileged,
    mounts: [...memory, ...volumes.mounts, ...files],
    recursiveReadOnly: volumes.recursiveReadOnly,
    ...(volumes.shared.length === 0 ? {} : { shared: volumes.shared }),
    ...(devices.nodes.length === 0 ? {} : { nodes: devices.nodes }),
    masked: hidden.masked,
    readOnlyPaths: hidden.readOnly,
    own,
    namespaces,
    ...(pidTarget === undefined ? {} : { pidTarget }),
    ...(privileged ? {} : { capabilities: capabilityMask(capabilities) }),
    noNewPrivileges: context?.noNewPrivs ?? false,
    ...(seccompFile === undefined ? {} : { seccomp: seccompFile }),
    ...(apparmor === undefined ? {} : { apparmor }),
    ...(privileged ? {} : { devices: devices.rules }),
    cgroups: containerCgroups(
      pod.config.linux?.cgroupParent || host.config.runtime.cgroupParent,
      host.config.runtime.cgroupParent,
      pod.id,
      spec.id,
    ),
    stopSignal: stopSignal(config.stopSignal, image.run.stopSignal),
    ...logLocation(pod.config.logDirectory, config.logPath),
  };
};

/** The mount points that LXC needs, and where the tree is not the image's. */
const prepareTree = async (tree: ContainerTree, own: ContainerPlan['own']): Promise<void> => {
  for (const path of ['/proc', '/sys', '/dev']) {
    const { path: real } = await tree.resolve('image', path, 'directory');
    if (real !== path) throw invalid('image', `${path} is a link to ${real}`);
  }
  for (const target of ['/proc', ...(own.sys ? ['/sys'] : []), ...(own.dev ? ['/dev'] : [])])
    tree.mount({ target, host: undefined });
};

/** passwd and group files have thousands of lines at most; a huge one must not fill the daemon's memory. */
const MAX_USER_FILE_BYTES = 8 * 1024 * 1024;

const findUser = async (tree: ContainerTree, config: ContainerConfig, imageUser: string): Promise<ContainerUser> => {
  const context = config.linux?.securityContext;
  const read = async (path: string): Promise<string> => await tree.readText('image', path, MAX_USER_FILE_BYTES);
  const [passwd, group] = await Promise.all([read('/etc/passwd'), read('/etc/group')]);
  return resolveUser(
    {
      ...(context?.runAsUser ? { runAsUser: context.runAsUser.value } : {}),
      ...(context?.runAsGroup ? { runAsGroup: context.runAsGroup.value } : {}),
      runAsUsername: context?.runAsUsername ?? '',
      supplementalGroups: context?.supplementalGroups ?? [],
      policy: context?.supplementalGroupsPolicy ?? 0,
      imageUser,
    },
    passwd,
    group,
  );
};
