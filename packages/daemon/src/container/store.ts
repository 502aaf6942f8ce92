/** The containers in memory, by id and by reserved name. */
import { BerthError } from '../util/errors.ts';
import { findById } from '../util/ids.ts';
import type { Container } from './container.ts';

export class ContainerStore {
  readonly #byId = new Map<string, Container>();
  readonly #byName = new Map<string, string>();

  /**
   * Takes a container in and reserves its name.
   * @throws BerthError `CONTAINER_EXISTS` when the name is taken.
   */
  add(container: Container): void {
    const { name } = container.meta;
    const holder = this.#byName.get(name);
    if (holder !== undefined) {
      throw new BerthError('already-exists', 'CONTAINER_EXISTS', `the container name "${name}" is taken by container ${holder}`);
    }
    this.#byName.set(name, container.id);
    this.#byId.set(container.id, container);
  }

  has(container: Container): boolean {
    return this.#byId.get(container.id) === container;
  }

  delete(container: Container): void {
    if (!this.has(container)) return;
    this.#byId.delete(container.id);
    this.#byName.delete(container.meta.name);
  }

  /** By id or unique prefix; those that are still being created are not found. */
  find(idOrPrefix: string): Container | undefined {
    const found = findById(this.#byId, idOrPrefix, 'container');
    return found?.status.state === 'creating' ? undefined : found;
  }

  /** @throws BerthError `CONTAINER_NOT_FOUND` */
  get(idOrPrefix: string): Container {
    const found = this.find(idOrPrefix);
    if (found === undefined) throw new BerthError('not-found', 'CONTAINER_NOT_FOUND', `no container has the id "${idOrPrefix}"`);
    return found;
  }

  /** All that are made, oldest first. */
  list(): Container[] {
    return [...this.#byId.values()].filter((container) => container.status.state !== 'creating');
  }

  /** All of a pod, those that are still being created too. */
  ofPod(podId: string): Container[] {
    return [...this.#byId.values()].filter((container) => container.meta.spec.pod.id === podId);
  }

  /** Whether a container needs this image; those that are being created count. */
  usesImage(imageId: string): boolean {
    return this.#byId.values().some((container) => container.meta.spec.image.id === imageId);
  }
}
