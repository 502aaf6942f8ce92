/** One pod of the test's cluster: its manifest, and the sandbox and containers that it is for the runtime. */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ContainerConfigSchema, NamespaceMode, type PodSandboxConfig, PodSandboxConfigSchema } from '@berth/cri-api';
import type { BerthClient } from '@berth/client';
import { create } from '@bufbuild/protobuf';
import { IMAGE } from '../pods.ts';
import { type ContainerSpec, type ContainerView, type PodManifest, type PodObject, podStatus } from './pod-object.ts';
import { logHas } from './log-content.ts';

/** A pod with this annotation is ready when its first container's log holds that text: kubelet's readiness probe. */
export const READY_WHEN_LOGGED = 'test/ready-when-logged';

/** A container of the pod as the runtime knows it; a restart replaces it. */
export type Instance = { readonly spec: ContainerSpec; readonly id: string; readonly attempt: number; readonly logFile: string };

export class ClusterPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid = randomUUID();
  readonly created = new Date().toISOString();
  #manifest: PodManifest;
  readonly #cri: BerthClient;
  readonly #config: PodSandboxConfig;
  readonly #instances = new Map<string, Instance>();
  #sandboxId = '';

  constructor(cri: BerthClient, manifest: PodManifest, logs: string) {
    this.#cri = cri;
    this.#manifest = manifest;
    this.name = manifest.metadata.name;
    this.namespace = manifest.metadata.namespace ?? 'default';
    const logDirectory = join(logs, `${this.namespace}-${this.name}`);
    mkdirSync(logDirectory, { recursive: true });
    const network = manifest.spec.hostNetwork === true ? NamespaceMode.NODE : NamespaceMode.POD;
    this.#config = create(PodSandboxConfigSchema, {
      metadata: { name: this.name, namespace: this.namespace, uid: this.uid, attempt: 0 },
      logDirectory,
      linux: { securityContext: { namespaceOptions: { network, pid: NamespaceMode.CONTAINER } } },
    });
  }

  get sandboxId(): string {
    return this.#sandboxId;
  }

  /** Sandbox and containers, created and started. */
  async start(): Promise<void> {
    const { podSandboxId } = await this.#cri.runtime.runPodSandbox({ config: this.#config });
    this.#sandboxId = podSandboxId;
    for (const spec of this.#manifest.spec.containers) await this.#startContainer(spec, 0);
  }

  /** Adds debug containers to the running pod; those that are there already stay. */
  async addEphemeral(specs: readonly ContainerSpec[]): Promise<void> {
    const fresh = specs.filter(({ name }) => !this.#instances.has(name));
    const ephemeralContainers = [...(this.#manifest.spec.ephemeralContainers ?? []), ...fresh];
    this.#manifest = { ...this.#manifest, spec: { ...this.#manifest.spec, ephemeralContainers } };
    for (const spec of fresh) await this.#startContainer(spec, 0);
  }

  /** Stops a container and starts its next attempt, as kubelet does after a failed probe. */
  async restart(name: string): Promise<void> {
    const { id, spec, attempt } = this.instance(name);
    await this.#cri.runtime.stopContainer({ containerId: id, timeout: 0n });
    await this.#startContainer(spec, attempt + 1);
  }

  /** The container of that name; without a name the first one. @throws Error when there is none (yet) */
  instance(name = this.#manifest.spec.containers[0]?.name ?? ''): Instance {
    const found = this.#instances.get(name);
    if (found === undefined) throw new Error(`container ${name} is not valid for pod ${this.name}`);
    return found;
  }

  /** Whether the container can still write to its log. */
  async isRunning(instance: Instance): Promise<boolean> {
    const { status } = await this.#cri.runtime.containerStatus({ containerId: instance.id });
    return status?.finishedAt === 0n;
  }

  async remove(): Promise<void> {
    if (this.#sandboxId === '') return;
    await this.#cri.runtime.stopPodSandbox({ podSandboxId: this.#sandboxId });
    await this.#cri.runtime.removePodSandbox({ podSandboxId: this.#sandboxId });
  }

  /** The pod as the API shows it now, but for `resourceVersion`. */
  async object(): Promise<PodObject> {
    const { metadata, spec } = this.#manifest;
    const [containers, ephemeral] = await Promise.all([this.#views(spec.containers), this.#views(spec.ephemeralContainers ?? [])]);
    const more = { namespace: this.namespace, uid: this.uid, creationTimestamp: this.created };
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...metadata, ...more },
      // kubectl counts on what a server fills in.
      spec: { securityContext: {}, ...spec },
      status: podStatus(spec, containers, ephemeral),
    };
  }

  async #views(specs: readonly ContainerSpec[]): Promise<ContainerView[]> {
    return await Promise.all(specs.map(async (spec) => await this.#view(spec)));
  }

  async #view(spec: ContainerSpec): Promise<ContainerView> {
    const instance = this.#instances.get(spec.name);
    if (instance === undefined) return { spec, ready: false, status: undefined };
    const { status } = await this.#cri.runtime.containerStatus({ containerId: instance.id });
    const mark = this.#manifest.metadata.annotations?.[READY_WHEN_LOGGED];
    return { spec, ready: mark === undefined || logHas(instance.logFile, mark), status };
  }

  async #startContainer(spec: ContainerSpec, attempt: number): Promise<void> {
    const logPath = `${spec.name}_${attempt}.log`;
    const config = create(ContainerConfigSchema, {
      metadata: { name: spec.name, attempt },
      image: { image: spec.image ?? IMAGE },
      command: [...(spec.command ?? [])],
      args: [...(spec.args ?? [])],
      logPath,
      stdin: spec.stdin ?? false,
      stdinOnce: spec.stdinOnce ?? false,
      tty: spec.tty ?? false,
      linux: {},
    });
    const ids = { podSandboxId: this.#sandboxId, config, sandboxConfig: this.#config };
    const { containerId } = await this.#cri.runtime.createContainer(ids);
    await this.#cri.runtime.startContainer({ containerId });
    this.#instances.set(spec.name, { spec, id: containerId, attempt, logFile: join(this.#config.logDirectory, logPath) });
  }
}
