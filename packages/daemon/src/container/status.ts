/**
 * The state of a container, and the only ways in which it changes.
 *
 *     creating --created()--> created --starting()--> starting --running()--> running
 *        |                       |                       |                      |
 *        | (failed: removed)     |                       +--- ended() ----------+
 *        v                       |                                              v
 *      gone <------ remove ------+--------------- remove ------------------- exited
 *                                                                               ^
 *                                  running -- lost() --> unknown --- ended() ---+
 *
 * `creating` has no status file, so that a daemon that dies there leaves something that is recognised as half-made. `unknown` means: the
 * shim is gone and what is left of the container could not be killed. `removing` is set beside the state and never cleared.
 */
import type { LinuxContainerResources } from '@berth/cri-api';
import type { ExitRecord } from '../stdio/shim.ts';

export type ContainerState = 'creating' | 'created' | 'starting' | 'running' | 'exited' | 'unknown';

/** Everything about a container that changes. Replaced as a whole, never edited. */
export type ContainerStatus = {
  readonly state: ContainerState;
  /** Removal has begun: it is finished at the next start if the daemon dies meanwhile. */
  readonly removing: boolean;
  /** Boot of the host in which the container was made: its mounts and processes are of that boot. */
  readonly bootId: string;
  readonly stopSignal: number;
  readonly user: ContainerUserIds;
  readonly logPath?: string;
  /** Init's pid on the host and when that process started; known while running. */
  readonly pid?: number;
  readonly pidStartTime?: string;
  readonly startedAtNs?: bigint;
  readonly exit?: ContainerExit;
  /** Limits that UpdateContainerResources has set, merged; absent: those of the config. */
  readonly resources?: LinuxContainerResources;
};

export type ContainerUserIds = { readonly uid: number; readonly gid: number; readonly groups: readonly number[] };

/** How and when a container ended, and what to tell people. */
export type ContainerExit = {
  readonly kind: 'exited' | 'signaled' | 'unknown';
  readonly code: number;
  readonly signal: number;
  readonly oom: boolean;
  readonly finishedAtNs: bigint;
  /** One word: `Completed`, `Error`, `OOMKilled`, `StartError`, `Unknown`, `ShimLost`. */
  readonly reason: string;
  readonly message: string;
};

/** What other runtimes show for a container that could not be started. */
export const START_ERROR_CODE = 128;
/** What is shown when nobody knows how the container ended. Never 0. */
export const UNKNOWN_EXIT_CODE = 255;

export const initialStatus = (bootId: string): ContainerStatus => ({
  state: 'creating',
  removing: false,
  bootId,
  stopSignal: 15,
  user: { uid: 0, gid: 0, groups: [] },
});

/** The runtime has made it. */
export const created =
  (made: Pick<ContainerStatus, 'stopSignal' | 'user' | 'logPath'>) =>
  (status: ContainerStatus): ContainerStatus =>
    status.state === 'creating' ? { ...status, ...made, state: 'created' } : status;

/** A start begins; written before the runtime is asked. */
export const starting = (status: ContainerStatus): ContainerStatus =>
  status.state === 'created' ? { ...status, state: 'starting' } : status;

/** Init runs. */
export const running =
  (process: Pick<ContainerStatus, 'pid' | 'pidStartTime' | 'startedAtNs'>) =>
  (status: ContainerStatus): ContainerStatus =>
    status.state === 'starting' || status.state === 'running' ? { ...status, ...process, state: 'running' } : status;

/** The shim is gone and its processes could not be killed. */
export const lost = (status: ContainerStatus): ContainerStatus =>
  hasEnded(status.state) ? status : { ...status, state: 'unknown' };

/** It has ended, once and for all: the first report wins. */
export const ended =
  (exit: ContainerExit, startedAtNs?: bigint) =>
  (status: ContainerStatus): ContainerStatus => {
    if (hasEnded(status.state)) return status;
    const { pid: _pid, pidStartTime: _pidStartTime, ...rest } = status;
    return { ...rest, ...(startedAtNs === undefined ? {} : { startedAtNs }), state: 'exited', exit };
  };

export const removing = (status: ContainerStatus): ContainerStatus => (status.removing ? status : { ...status, removing: true });

/** Whether a state is final. */
export const hasEnded = (state: ContainerState): boolean => state === 'exited';

/** Whether processes of the container may exist. */
export const mayRun = (state: ContainerState): boolean => state === 'starting' || state === 'running' || state === 'unknown';

/** The shim's exit record in the words of CRI. */
export function exitOf(record: ExitRecord): ContainerExit {
  const { kind, code, signal, oom, finishedAtNs } = record;
  if (oom)
    return {
      kind,
      code,
      signal,
      oom,
      finishedAtNs,
      reason: 'OOMKilled',
      message: 'killed because it used more memory than its limit',
    };
  if (kind === 'unknown') return { kind, code, signal, oom, finishedAtNs, reason: 'Unknown', message: record.reason };
  const message = kind === 'signaled' ? `killed by signal ${signal}` : '';
  return { kind, code, signal, oom, finishedAtNs, reason: code === 0 ? 'Completed' : 'Error', message };
}

/** An end that nobody saw. */
export const unknownExit = (reason: string, message: string, finishedAtNs: bigint): ContainerExit => ({
  kind: 'unknown',
  code: UNKNOWN_EXIT_CODE,
  signal: 0,
  oom: false,
  finishedAtNs,
  reason,
  message,
});

/** A start that failed. */
export const startError = (message: string, finishedAtNs: bigint): ContainerExit => ({
  kind: 'unknown',
  code: START_ERROR_CODE,
  signal: 0,
  oom: false,
  finishedAtNs,
  reason: 'StartError',
  message,
});
