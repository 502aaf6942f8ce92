/** The pods of the test's cluster, all on one node: the daemon under test. */
import type { BerthClient } from '@berth/client';
import { ClusterPod } from './pod.ts';
import type { ContainerSpec, PodManifest, PodObject } from './pod-object.ts';

/** A request that cannot be served, as the HTTP status that Kubernetes answers with. */
export class ApiError extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

export type VersionedPod = PodObject & { readonly metadata: { readonly resourceVersion: string } };

export class Cluster {
  readonly #cri: BerthClient;
  readonly #logs: string;
  readonly #pods = new Map<string, ClusterPod>();
  /** By pod: what was last shown, and the version that it had. */
  readonly #shown = new Map<string, { readonly json: string; readonly version: number }>();
  #version = 1;

  /** @param logs folder for the containers' logs */
  constructor(cri: BerthClient, logs: string) {
    this.#cri = cri;
    this.#logs = logs;
  }

  get version(): string {
    return String(this.#version);
  }

  /** Takes a pod in and starts it; `started` settles when its containers run. */
  create(manifest: PodManifest): { readonly pod: ClusterPod; readonly started: Promise<void> } {
    const pod = new ClusterPod(this.#cri, manifest, this.#logs);
    const key = keyOf(pod);
    if (this.#pods.has(key)) throw new ApiError(409, 'AlreadyExists', `pods "${pod.name}" already exists`);
    this.#pods.set(key, pod);
    return { pod, started: pod.start() };
  }

  /** A running pod of one container called `main`. */
  async run(name: string, script: string, spec: Partial<ContainerSpec> = {}): Promise<ClusterPod> {
    const { pod, started } = this.create({
      metadata: { name },
      spec: { containers: [{ name: 'main', command: ['sh', '-c', script], ...spec }] },
    });
    await started;
    return pod;
  }

  /** @throws ApiError 404 */
  get(namespace: string, name: string): ClusterPod {
    const pod = this.#pods.get(`${namespace}/${name}`);
    if (pod === undefined) throw new ApiError(404, 'NotFound', `pods "${name}" not found`);
    return pod;
  }

  /** Pods of a namespace as the API shows them, or the one of that name if it is there. */
  async list(namespace: string, name?: string): Promise<VersionedPod[]> {
    const wanted = [...this.#pods.values()].filter(
      (pod) => pod.namespace === namespace && (name === undefined || pod.name === name),
    );
    const shown = await Promise.all(
      wanted.map(async (pod) => {
        try {
          return await this.show(pod);
        } catch (error) {
          // Its containers were taken away while it was being looked at.
          if (this.#pods.get(keyOf(pod)) !== pod) return undefined;
          throw error;
        }
      }),
    );
    return shown.filter((pod) => pod !== undefined);
  }

  async delete(namespace: string, name: string): Promise<VersionedPod> {
    const pod = this.get(namespace, name);
    const last = await this.show(pod);
    this.#pods.delete(keyOf(pod));
    this.#shown.delete(keyOf(pod));
    this.#version += 1;
    await pod.remove();
    return last;
  }

  /** The pod as the API shows it; its version grows when something has changed since it was last shown. */
  async show(pod: ClusterPod): Promise<VersionedPod> {
    const object = await pod.object();
    const json = JSON.stringify(object);
    let shown = this.#shown.get(keyOf(pod));
    if (shown?.json !== json) {
      shown = { json, version: ++this.#version };
      this.#shown.set(keyOf(pod), shown);
    }
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(shown.version) } };
  }

  async clear(): Promise<void> {
    for (const { namespace, name } of this.#pods.values()) await this.delete(namespace, name);
  }
}

const keyOf = (pod: ClusterPod): string => `${pod.namespace}/${pod.name}`;
