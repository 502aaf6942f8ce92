/** Pods and containers through CRI, as short as a test wants to say them. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ContainerConfig,
  ContainerConfigSchema,
  ContainerState,
  type LinuxContainerResourcesSchema,
  type LinuxContainerSecurityContextSchema,
  NamespaceMode,
  PodSandboxConfigSchema,
} from '@berth/cri-api';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { TestDaemon } from './daemon.ts';
import { eventually } from './processes.ts';

export const IMAGE = 'berth.local/busybox:latest';

export type ContainerOptions = {
  readonly tty?: boolean;
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  /** False: a container without a log file. */
  readonly log?: boolean;
  /** Path in the container and on the host, read-only. */
  readonly mounts?: readonly { readonly containerPath: string; readonly hostPath: string; readonly readonly?: boolean }[];
  readonly env?: Readonly<Record<string, string>>;
  /** User id of init and of other programs; root where none is given. */
  readonly user?: number;
  /** Everything else about who they are; then without `user`. */
  readonly security?: MessageInitShape<typeof LinuxContainerSecurityContextSchema>;
  readonly resources?: MessageInitShape<typeof LinuxContainerResourcesSchema>;
};

export type Pod = { readonly id: string; readonly config: MessageInitShape<typeof PodSandboxConfigSchema> };

let count = 0;

/** A pod in the host's network unless told otherwise, each of its containers with process ids of its own. */
export async function runPod(
  daemon: TestDaemon,
  name = `pod-${++count}`,
  network: NamespaceMode = NamespaceMode.NODE,
): Promise<Pod> {
  const logDirectory = join(daemon.logs, name);
  mkdirSync(logDirectory, { recursive: true });
  const config = create(PodSandboxConfigSchema, {
    metadata: { name, namespace: 'test', uid: `uid-${name}`, attempt: 0 },
    logDirectory,
    linux: { securityContext: { namespaceOptions: { network, pid: NamespaceMode.CONTAINER } } },
  });
  const { podSandboxId } = await daemon.client.runtime.runPodSandbox({ config });
  return { id: podSandboxId, config };
}

/** A container of a shell command line, made and not started. */
export async function createContainer(
  daemon: TestDaemon,
  pod: Pod,
  script: string,
  options: ContainerOptions = {},
): Promise<TestContainer> {
  const name = `c-${++count}`;
  const config = create(ContainerConfigSchema, {
    metadata: { name, attempt: 0 },
    image: { image: IMAGE },
    command: ['sh', '-c', script],
    envs: Object.entries(options.env ?? {}).map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: (options.mounts ?? []).map((mount) => ({ readonly: true, ...mount })),
    logPath: options.log === false ? '' : `${name}.log`,
    stdin: options.stdin ?? false,
    stdinOnce: options.stdinOnce ?? false,
    tty: options.tty ?? false,
    linux: {
      ...(options.user === undefined ? {} : { securityContext: { runAsUser: { value: BigInt(options.user) } } }),
      ...(options.security === undefined ? {} : { securityContext: options.security }),
      ...(options.resources === undefined ? {} : { resources: options.resources }),
    },
  });
  const { containerId } = await daemon.client.runtime.createContainer({ podSandboxId: pod.id, config, sandboxConfig: pod.config });
  return new TestContainer(daemon, containerId, config, join(pod.config.logDirectory ?? '', `${name}.log`));
}

/** A running container of a shell command line. */
export async function runContainer(
  daemon: TestDaemon,
  pod: Pod,
  script: string,
  options: ContainerOptions = {},
): Promise<TestContainer> {
  const container = await createContainer(daemon, pod, script, options);
  await container.start();
  return container;
}

/** One container as tests look at it. */
export class TestContainer {
  readonly id: string;
  readonly config: ContainerConfig;
  /** Its CRI log on the host. */
  readonly logFile: string;
  readonly #daemon: TestDaemon;

  constructor(daemon: TestDaemon, id: string, config: ContainerConfig, logFile: string) {
    this.#daemon = daemon;
    this.id = id;
    this.config = config;
    this.logFile = logFile;
  }

  async start(): Promise<void> {
    await this.#daemon.client.runtime.startContainer({ containerId: this.id });
  }

  async status() {
    const { status } = await this.#daemon.client.runtime.containerStatus({ containerId: this.id });
    if (status === undefined) throw new Error('ContainerStatus without a status');
    return status;
  }

  /** Process ids on the host. */
  async pids(): Promise<{ readonly init: number; readonly shim: number }> {
    const { info } = await this.#daemon.client.runtime.containerStatus({ containerId: this.id, verbose: true });
    const { pid, shim } = JSON.parse(info['info'] ?? '{}') as { pid?: number; shim?: { pid?: number } };
    if (pid === undefined || shim?.pid === undefined) throw new Error('verbose ContainerStatus without process ids');
    return { init: pid, shim: shim.pid };
  }

  /** Waits for its end; gives the status then. */
  async exited(timeoutMs = 60_000) {
    return await eventually(
      `container ${this.id} exits`,
      async () => {
        const status = await this.status();
        return status.state === ContainerState.CONTAINER_EXITED ? status : undefined;
      },
      timeoutMs,
    );
  }

  /** The Attach call; by default with what the container has. */
  async attachUrl(streams: { stdin?: boolean; stdout?: boolean; stderr?: boolean; tty?: boolean } = {}): Promise<string> {
    const { tty } = this.config;
    const request = { stdin: this.config.stdin, stdout: true, stderr: !tty, tty, ...streams };
    const { url } = await this.#daemon.client.runtime.attach({ containerId: this.id, ...request });
    return url;
  }
}
