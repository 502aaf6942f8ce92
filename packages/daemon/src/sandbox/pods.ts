/** The sandbox room's door: everything that can be done with pods, one method per verb. */
import type { ContainerConfig, PodSandboxConfig } from '@berth/cri-api';
import type { Container } from '../container/container.ts';
import type { Image } from '../image/image.ts';
import { BerthError } from '../util/errors.ts';
import type { PodDeps } from './deps.ts';
import type { Pod } from './pod.ts';
import { finishPods, recoverPods } from './recovery.ts';
import { refreshPod } from './refresh.ts';
import { removePod } from './remove.ts';
import { runPod } from './run.ts';
import { stopPod } from './stop.ts';
import { PodStore } from './store.ts';

export class Pods {
  readonly store = new PodStore();
  readonly #deps: PodDeps;

  constructor(deps: PodDeps) {
    this.#deps = deps;
  }

  /** Pods and, between them, containers, from disk. Once, at the start. */
  async recover(findImage: (id: string) => Image | undefined): Promise<void> {
    const doomed = await recoverPods(this.#deps, this.store);
    await this.#deps.containers.recover({ findPod: (id) => this.store.find(id)?.meta.spec, findImage });
    await finishPods(this.#deps, this.store, doomed);
  }

  /** Brings what is known of pods up to date; before it is shown. */
  async refresh(pods: readonly Pod[]): Promise<void> {
    await Promise.all(pods.map((pod) => refreshPod(this.#deps, this.store, pod)));
  }

  run(config: PodSandboxConfig, runtimeHandler: string): Promise<Pod> {
    return runPod(this.#deps, this.store, config, runtimeHandler);
  }

  stop(pod: Pod, signal?: AbortSignal): Promise<void> {
    return stopPod(this.#deps, this.store, pod, signal);
  }

  remove(pod: Pod, signal?: AbortSignal): Promise<void> {
    return removePod(this.#deps, this.store, pod, signal);
  }

  /** @throws BerthError `POD_NOT_FOUND`, `AMBIGUOUS_ID`, `POD_NOT_READY` */
  ready(idOrPrefix: string): Pod {
    const pod = this.store.get(idOrPrefix);
    this.#demandReady(pod);
    return pod;
  }

  /** @throws BerthError `POD_NOT_READY` */
  createContainer(pod: Pod, config: ContainerConfig, image: Image): Promise<Container> {
    this.#demandReady(pod);
    return this.#deps.containers.create(pod.meta.spec, config, image);
  }

  /** @throws BerthError `POD_NOT_READY` */
  async startContainer(container: Container): Promise<void> {
    const pod = this.store.get(container.meta.spec.pod.id);
    await this.#deps.containers.start(container, () => this.#demandReady(pod));
  }

  #demandReady(pod: Pod): void {
    if (pod.ready) return;
    throw new BerthError(
      'failed-precondition',
      'POD_NOT_READY',
      `pod ${pod.id} is not ready; nothing can be made, started or reached in it`,
    );
  }
}
