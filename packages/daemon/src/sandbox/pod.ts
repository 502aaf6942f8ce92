/**
 * One pod in the daemon's memory.
 *
 *     creating --RunPodSandbox--> ready --StopPodSandbox, reboot--> notready --RemovePodSandbox--> gone
 *
 * `creating` has no status file: a daemon that dies there leaves something that is recognised as half-made.
 */
import type { PodResources, PodSpec } from '../runtime/runtime.ts';
import type { Records } from '../util/records.ts';
import { Transactional } from '../util/transactional.ts';
import { podStatusToJson } from './record.ts';

export type PodState = 'creating' | 'ready' | 'notready';

/** What never changes after RunPodSandbox. */
export type PodMeta = {
  readonly spec: PodSpec;
  /** Unique among pods: name, namespace, uid and attempt. */
  readonly name: string;
  readonly runtimeHandler: string;
  readonly createdAtNs: bigint;
};

export type PodStatus = {
  readonly state: PodState;
  /** Removal has begun: it is finished at the next start if the daemon dies meanwhile. */
  readonly removing: boolean;
  readonly bootId: string;
  readonly resources: PodResources;
};

export class Pod {
  readonly meta: PodMeta;
  /** A stop has begun: no container may be made in it any more. In memory only; the stop is repeated by whoever asked for it. */
  stopping = false;
  /** Nothing can run in it any more, though its stop may take a while yet. In memory only: the next start finds out again. */
  ended = false;
  readonly #status: Transactional<PodStatus>;
  readonly #gone = new AbortController();

  constructor(meta: PodMeta, status: PodStatus, records: Records) {
    this.meta = meta;
    this.#status = new Transactional(status, (next, durable) =>
      records.write(meta.spec.id, 'status', podStatusToJson(next), durable),
    );
  }

  get id(): string {
    return this.meta.spec.id;
  }

  /** Not stopped, and not about to be. */
  get ready(): boolean {
    return this.status.state === 'ready' && !this.stopping && !this.ended;
  }

  /** Aborted once nothing runs in the pod any more: it is stopped or removed. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** The containers have ended; whoever uses the pod's network lets go of it. */
  sayGone(): void {
    this.#gone.abort();
  }

  get status(): PodStatus {
    return this.#status.current;
  }

  /** The only way to change the status; see Transactional.update. */
  update(
    change: (status: PodStatus) => PodStatus,
    options: { readonly durable?: boolean; readonly keep?: boolean } = {},
  ): Promise<PodStatus> {
    return this.#status.update(change, options);
  }
}
