/** What the RPCs need from the rest of the daemon; `daemon.ts` and tests supply it. */
import type { AttachTarget } from '../container/attach-target.ts';
import type { Container } from '../container/container.ts';
import type { Containers } from '../container/containers.ts';
import type { ImageStore } from '../image/image.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { Pod } from '../sandbox/pod.ts';
import type { Pods } from '../sandbox/pods.ts';
import type { SessionView } from '../streaming/live-sessions.ts';
import type { Log } from '../util/log.ts';

/** The streams that an Attach asks for, as far as the container has them. */
export type AttachStreams = { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean; readonly tty: boolean };

export type CriDeps = {
  readonly runtime: Runtime;
  readonly pods: Pods;
  readonly containers: Containers;
  readonly images: ImageStore;
  readonly attach: AttachIssuer;
  readonly sessions: SessionControl;
  readonly log: Log;
  /** For verbose Status: settings without secrets. */
  readonly settings: object;
  readonly now: () => bigint;
};

/** The sessions of the streaming room. */
export interface SessionControl {
  /** Oldest first. */
  list(): SessionView[];
  /** Ends one and gives it as it ended. @throws BerthError `SESSION_NOT_FOUND`, `ID_MISSING`, `AMBIGUOUS_ID` */
  kill(idOrPrefix: string, by: string): Promise<SessionView>;
}

/** Gives out attach URLs; the streaming room supplies it. */
export interface AttachIssuer {
  /**
   * Keeps the container's output from now on for a session to come and gives its URL.
   * @throws BerthError `resource-exhausted` when there are too many tickets or sessions
   */
  issue(target: AttachTarget, streams: AttachStreams): Promise<string>;
  /**
   * Gives the URL of a port-forward session; without `ports` its client may ask for any.
   * @throws BerthError `resource-exhausted` when there are too many tickets or sessions
   */
  issuePortForward(pod: Pod, ports: readonly number[]): string;
  /** The URL of a program that starts when a client comes. @throws BerthError as `issue` */
  issueExec(containerId: string, streams: AttachStreams, command: readonly string[]): string;
  /** The container's log file has been reopened. */
  logReopened(container: Container): Promise<void>;
}
