import type { Duplex } from 'node:stream';
import type { ContainerConfig, LinuxContainerResources, PodSandboxConfig } from '@berth/cri-api';
import type { Image } from '../image/image.ts';

/**
 * The seam between containers and what makes them. `container/` and `sandbox/` know only this; `lcr/` implements it.
 * All methods throw `BerthError`; all of them leave nothing behind when they throw.
 */
export interface Runtime {
  /** Runtime name as handlers and errors show it: `lcr`. */
  readonly name: string;
  /** Version of what is underneath (LXC), for the Version and Status RPCs. */
  version(): Promise<string>;

  /** Makes a pod's namespaces, cgroup and files. Idempotent for the same id. */
  createPod(pod: PodSpec): Promise<PodResources>;
  /** False when what createPod made is gone: the state folder was emptied, the machine restarted. */
  podStands(pod: PodSpec): Promise<boolean>;
  /** False when nothing can run in the pod any more, though what createPod made is there: its shared pid namespace has ended. Cheap. */
  podRuns(pod: PodSpec): Promise<boolean>;
  /** Takes down what createPod made; also cleans up after a crash. Idempotent; never fails because something is gone. */
  removePod(pod: PodSpec): Promise<void>;

  /** Checks every field of the request, mounts the root filesystem, writes config and files. Refuses by name what is not honoured. */
  createContainer(spec: ContainerSpec): Promise<CreatedContainer>;
  /** Starts the shim and with it init. Resolves when init has been executed. */
  startContainer(spec: ContainerSpec): Promise<StartedContainer>;
  /** Takes down mounts, cgroups and files of a container that does not run; kills what is left of it. Idempotent. */
  removeContainer(spec: ContainerSpec): Promise<void>;
  /** Kills every process of a container whose shim is gone. Idempotent. */
  killLeftovers(spec: ContainerSpec): Promise<void>;
  /** Ends a start that nobody waits for any longer: its shim first, so that nothing comes up later, then as `killLeftovers`. Idempotent. */
  abandonStart(spec: ContainerSpec): Promise<void>;
  /** What a program besides init takes to run in a running container: as the shim reads it (shim/PROTOCOL.md, "Another program"). */
  programFor(spec: ContainerSpec, program: Program): Promise<Buffer>;
  /** Applies new limits to a created or running container and to later starts. */
  updateResources(spec: ContainerSpec, resources: LinuxContainerResources): Promise<void>;
  /** Where somebody outside has frozen a running container, for people to find: a cgroup's directory. `undefined`: it is not frozen. */
  frozenAt(spec: ContainerSpec): Promise<string | undefined>;

  /**
   * Connects to a TCP port on the loopback of a pod's network: IPv4, or IPv6 when that is refused. The connection is half-open, and lives
   * on when the pod is removed: who has it ends it.
   * @throws BerthError `PORT_UNREACHABLE` (unavailable), or the signal's reason
   */
  dialPort(pod: PodSpec, resources: PodResources, port: number, signal: AbortSignal): Promise<PodConnection>;
  /** Ends what lives only as long as the daemon. Idempotent. */
  close(): Promise<void>;
}

/** What the runtime needs to know of a pod. Immutable after RunPodSandbox. */
export type PodSpec = {
  readonly id: string;
  readonly config: PodSandboxConfig;
};

/** What createPod made, kept in the pod's record. */
export type PodResources = {
  /** Path of the pinned network namespace; absent with host network. */
  readonly netns?: string;
};

/** Bytes to a program in a pod and back. */
export type PodConnection = Duplex & {
  /** Ends it so that the program does not take it for a proper end, where the connection can do that. */
  resetAndDestroy?(): unknown;
};

/** What the runtime needs to know of a container. Immutable after CreateContainer; kept in its record. */
export type ContainerSpec = {
  readonly id: string;
  readonly pod: PodSpec;
  readonly config: ContainerConfig;
  readonly image: Image;
  /** 64 hex digits: what the daemon must say to the shim. */
  readonly secret: string;
};

/** A program to run in a container besides init. */
export type Program = {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  /** The terminal's first size. */
  readonly size?: { readonly columns: number; readonly rows: number };
};

export type CreatedContainer = {
  /** The signal that StopContainer sends first, for example 15. */
  readonly stopSignal: number;
  /** Host path of the log, absent without a log directory or log path. */
  readonly logPath?: string;
  /** Ids that init will have: for ContainerStatus.user. */
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };
};

export type StartedContainer = {
  /** Init's pid on the host. */
  readonly pid: number;
};

/** How long a start may take: LXC needs milliseconds, a swamped machine with a slow disk may need much longer. */
export const START_TIMEOUT_MS = 60_000;

/** Where a container's shim listens; the same rule for runtime, stdio and recovery. */
export const shimSocketPath = (state: string, id: string): string => `${state}/${id}/shim.sock`;

/** Where a container's shim leaves its exit record. */
export const exitRecordPath = (root: string, id: string): string => `${root}/containers/${id}/exit.json`;

/** Where it leaves it when the root directory takes nothing (a full disk): in memory, until the next reboot. */
export const spareRecordPath = (state: string, id: string): string => `${state}/${id}/exit.json`;
