/** The container room's door: everything that can be done with containers, one method per verb. */
import type { ContainerConfig, LinuxContainerResources } from '@berth/cri-api';
import type { Image } from '../image/image.ts';
import type { PodSpec, Program } from '../runtime/runtime.ts';
import type { Shim } from '../stdio/shim.ts';
import { BerthError } from '../util/errors.ts';
import { type AttachTarget, attachTarget } from './attach-target.ts';
import type { Container } from './container.ts';
import { createContainer } from './create.ts';
import { execInContainer } from './exec.ts';
import type { ContainerDeps } from './deps.ts';
import { type RecoverySources, recoverContainers } from './recovery.ts';
import { removeContainer } from './remove.ts';
import { reopenLog } from './reopen-log.ts';
import { startContainer } from './start.ts';
import { stopContainer } from './stop.ts';
import { ContainerStore } from './store.ts';
import { updateContainerResources } from './update-resources.ts';

export class Containers {
  readonly store = new ContainerStore();
  readonly #deps: ContainerDeps;

  constructor(deps: ContainerDeps) {
    this.#deps = deps;
  }

  /** Once, at the start. */
  recover(sources: RecoverySources): Promise<void> {
    return recoverContainers(this.#deps, this.store, sources);
  }

  create(pod: PodSpec, config: ContainerConfig, image: Image): Promise<Container> {
    return createContainer(this.#deps, this.store, pod, config, image);
  }

  /** `guard` throws when the container must not be started any more. */
  start(container: Container, guard: () => void): Promise<void> {
    return startContainer(this.#deps, container, guard);
  }

  /** `graceMs` 0: SIGKILL at once. */
  stop(container: Container, graceMs: number, signal?: AbortSignal): Promise<void> {
    return stopContainer(this.#deps, container, graceMs, signal);
  }

  remove(container: Container, signal?: AbortSignal): Promise<void> {
    return removeContainer(this.#deps, this.store, container, signal);
  }

  /** Runs a program besides init; see `execInContainer`. Takes a full id. */
  async exec(id: string, program: Program, signal: AbortSignal): Promise<Shim> {
    const container = this.store.find(id);
    if (container === undefined) throw new BerthError('not-found', 'CONTAINER_NOT_FOUND', `no container has the id "${id}"`);
    return await execInContainer(this.#deps, container, program, signal);
  }

  updateResources(container: Container, change: LinuxContainerResources): Promise<void> {
    return updateContainerResources(this.#deps, container, change);
  }

  reopenLog(container: Container): Promise<void> {
    return reopenLog(container);
  }

  /** What a session may see of a container; undefined when there is none. Takes a full id. */
  attachTarget(id: string): AttachTarget | undefined {
    const container = this.store.find(id);
    return container === undefined ? undefined : attachTarget(container);
  }

  /** Drops the connections to all shims, after they have got what waits for them; the containers go on. */
  async close(): Promise<void> {
    const shims = this.store.list().flatMap((container) => container.shim() ?? []);
    await Promise.all(shims.map((shim) => shim.handOver()));
    for (const shim of shims) shim.close();
  }
}
