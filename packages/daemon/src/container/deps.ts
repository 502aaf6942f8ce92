/** What the operations on containers need from the rest of the daemon; `daemon.ts` and tests supply it. */
import type { Runtime } from '../runtime/runtime.ts';
import type { Shim } from '../stdio/shim.ts';
import type { KeyedMutex } from '../util/keyed-mutex.ts';
import type { Log } from '../util/log.ts';
import type { Records } from '../util/records.ts';

/** Connects to a container's shim and says hello. Rejects when nobody listens, or the secret is wrong. */
export type ConnectShim = (path: string, secret: string, signal: AbortSignal) => Promise<Shim>;

/** Runs a program in the container of a shim. Rejects with `ExecFailed` or `ShimLost`. */
export type ConnectExec = (path: string, secret: string, program: Uint8Array, signal: AbortSignal) => Promise<Shim>;

export type ContainerDeps = {
  readonly root: string;
  readonly state: string;
  readonly runtime: Runtime;
  readonly connectShim: ConnectShim;
  readonly connectExec: ConnectExec;
  readonly records: Records;
  readonly mutex: KeyedMutex;
  readonly log: Log;
  readonly bootId: string;
  /** Aborted when the daemon ends: from then on the loss of a shim means nothing. */
  readonly closing: AbortSignal;
  readonly now: () => bigint;
};
