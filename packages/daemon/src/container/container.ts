/** One container in the daemon's memory: what never changes, its status, and its shim while there is one. */
import type { ContainerSpec } from '../runtime/runtime.ts';
import type { Shim } from '../stdio/shim.ts';
import type { Records } from '../util/records.ts';
import { Transactional } from '../util/transactional.ts';
import { type ContainerStatus, hasEnded } from './status.ts';
import { statusToJson } from './record.ts';

/** What never changes after CreateContainer. */
export type ContainerMeta = {
  readonly spec: ContainerSpec;
  /** Unique among containers: name, pod and attempt. */
  readonly name: string;
  /** Name of the runtime that made it. */
  readonly runtime: string;
  readonly createdAtNs: bigint;
};

export class Container {
  readonly meta: ContainerMeta;
  /** Resolves when the status has become final, or unknown. */
  readonly stopped: Promise<void>;
  /** The stop signal has been sent: further StopContainer calls only wait. */
  stopSignalSent = false;
  /** Settles when nobody watches the container's shim any more: the exit has been told, the shim let go. Never rejects. */
  released: Promise<void> = Promise.resolve();
  /** A connection to the shim that is being made: a second one would throw the first one out. */
  connecting: Promise<boolean> | undefined;
  readonly #status: Transactional<ContainerStatus>;
  readonly #resolveStopped: () => void;
  #shim: Shim | undefined;

  constructor(meta: ContainerMeta, status: ContainerStatus, records: Records) {
    this.meta = meta;
    this.#status = new Transactional(status, (next, durable) => records.write(meta.spec.id, 'status', statusToJson(next), durable));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopped = promise;
    this.#resolveStopped = resolve;
    if (hasEnded(status.state)) resolve();
  }

  get id(): string {
    return this.meta.spec.id;
  }

  get status(): ContainerStatus {
    return this.#status.current;
  }

  /** The only way to change the status; see Transactional.update. */
  async update(
    change: (status: ContainerStatus) => ContainerStatus,
    options: { readonly durable?: boolean; readonly keep?: boolean } = {},
  ): Promise<ContainerStatus> {
    try {
      return await this.#status.update(change, options);
    } finally {
      if (hasEnded(this.status.state)) this.#resolveStopped();
    }
  }

  /** The shim, while the daemon is connected to it: from the start until the exit has been told to everyone. */
  shim(): Shim | undefined {
    return this.#shim;
  }

  setShim(shim: Shim | undefined): void {
    this.#shim = shim;
  }
}
