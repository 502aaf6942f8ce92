/** What a port-forward session needs of its pod; `daemon.ts` supplies it. */
import type { Duplex } from 'node:stream';

/** A pod that can be reached. */
export type ForwardTarget = {
  /** Aborted when the pod is stopped or removed. */
  readonly gone: AbortSignal;
  /** A half-open connection to a port of the pod. @throws Error with one sentence for the client; the signal's reason */
  dial(port: number, signal: AbortSignal): Promise<PodSide>;
};

/** A connection into a pod. */
export type PodSide = Duplex & {
  /** Ends it so that the program in the pod does not take it for a proper end, where the connection can do that. */
  resetAndDestroy?(): unknown;
};

/** Ends a connection at once: in order where its input has come to its end and the kernel has taken all of it. */
export function drop(pod: PodSide, inputEnded: boolean): void {
  if (inputEnded && pod.writableLength === 0) pod.destroy();
  else cutOff(pod);
}

/** Ends a connection whose input has not come to its end: the program must not take the part for the whole. */
export function cutOff(pod: PodSide): void {
  if (pod.resetAndDestroy === undefined) pod.destroy();
  else pod.resetAndDestroy();
}
