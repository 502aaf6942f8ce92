/** What the operations on pods need from the rest of the daemon; `daemon.ts` and tests supply it. */
import type { Containers } from '../container/containers.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { KeyedMutex } from '../util/keyed-mutex.ts';
import type { Log } from '../util/log.ts';
import type { Records } from '../util/records.ts';

export type PodDeps = {
  readonly runtime: Runtime;
  readonly containers: Containers;
  readonly records: Records;
  readonly mutex: KeyedMutex;
  readonly log: Log;
  readonly bootId: string;
  readonly now: () => bigint;
};
