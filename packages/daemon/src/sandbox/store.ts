/** The pods in memory, by id and by reserved name. */
import { BerthError } from '../util/errors.ts';
import { findById } from '../util/ids.ts';
import type { Pod } from './pod.ts';

export class PodStore {
  readonly #byId = new Map<string, Pod>();
  readonly #byName = new Map<string, string>();

  /**
   * Takes a pod in and reserves its name.
   * @throws BerthError `POD_EXISTS` when the name is taken.
   */
  add(pod: Pod): void {
    const { name } = pod.meta;
    const holder = this.#byName.get(name);
    if (holder !== undefined)
      throw new BerthError('already-exists', 'POD_EXISTS', `the pod name "${name}" is taken by pod ${holder}`);
    this.#byName.set(name, pod.id);
    this.#byId.set(pod.id, pod);
  }

  has(pod: Pod): boolean {
    return this.#byId.get(pod.id) === pod;
  }

  delete(pod: Pod): void {
    if (!this.has(pod)) return;
    this.#byId.delete(pod.id);
    this.#byName.delete(pod.meta.name);
  }

  /** By id or unique prefix; those that are still being created are not found. */
  find(idOrPrefix: string): Pod | undefined {
    const found = findById(this.#byId, idOrPrefix, 'pod');
    return found?.status.state === 'creating' ? undefined : found;
  }

  /** @throws BerthError `POD_NOT_FOUND` */
  get(idOrPrefix: string): Pod {
    const found = this.find(idOrPrefix);
    if (found === undefined) throw new BerthError('not-found', 'POD_NOT_FOUND', `no pod has the id "${idOrPrefix}"`);
    return found;
  }

  /** All that are made, oldest first. */
  list(): Pod[] {
    return [...this.#byId.values()].filter((pod) => pod.status.state !== 'creating');
  }

  /** Pods of every state. */
  get size(): number {
    return this.#byId.size;
  }
}
