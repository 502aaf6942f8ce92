/** The LCR runtime: what `container/` and `sandbox/` see of LXC. Each method is one file of this room. */
import type { LinuxContainerResources } from '@berth/cri-api';
import type { Config } from '../config/config.ts';
import type {
  ContainerSpec,
  CreatedContainer,
  PodConnection,
  PodResources,
  PodSpec,
  Program,
  Runtime,
  StartedContainer,
} from '../runtime/runtime.ts';
import type { Log } from '../util/log.ts';
import { prepareShimCgroups } from './cgroup-tree.ts';
import { abandonStart, createContainer, frozenAt, killLeftovers, removeContainer, updateResources } from './container.ts';
import { readHostFacts } from './host-facts.ts';
import type { LcrHost } from './lcr-host.ts';
import { shimBinary } from './paths.ts';
import { createPod, podRuns, podStands, removePod } from './pod.ts';
import { PodDialers } from './pod-dialers.ts';
import { programFor } from './program.ts';
import { must } from './spawn.ts';
import { Spawner } from './spawner.ts';
import { startContainer } from './start.ts';

/** Makes the runtime. `prepareHost` must have been called; the host is looked at when the first method is. */
export const createLcrRuntime = (config: Config, log: Log): Runtime => new LcrRuntime(config, log);

class LcrRuntime implements Runtime {
  readonly name = 'lcr';
  readonly #config: Config;
  readonly #log: Log;
  readonly #dialers: PodDialers;
  readonly #spawner: Spawner;
  #host: Promise<LcrHost> | undefined;
  #version: Promise<string> | undefined;

  constructor(config: Config, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#dialers = new PodDialers(shimBinary(config));
    this.#spawner = new Spawner(shimBinary(config));
  }

  async version(): Promise<string> {
    this.#version ??= must(this.#config.runtime.lxcStart, ['--version']).then(({ stdout }) => stdout.trim());
    try {
      return await this.#version;
    } catch (error) {
      this.#version = undefined;
      throw error;
    }
  }

  async createPod(pod: PodSpec): Promise<PodResources> {
    return await createPod(await this.#ready(), pod);
  }

  async podStands(pod: PodSpec): Promise<boolean> {
    return await podStands(await this.#ready(), pod);
  }

  async podRuns(pod: PodSpec): Promise<boolean> {
    return await podRuns(await this.#ready(), pod);
  }

  async removePod(pod: PodSpec): Promise<void> {
    await this.#dialers.end(pod.id);
    await removePod(await this.#ready(), pod);
    // One that a dial has started meanwhile: later ones find no namespace.
    await this.#dialers.end(pod.id);
  }

  async createContainer(spec: ContainerSpec): Promise<CreatedContainer> {
    return await createContainer(await this.#ready(), spec);
  }

  async startContainer(spec: ContainerSpec): Promise<StartedContainer> {
    return await startContainer(await this.#ready(), spec);
  }

  async removeContainer(spec: ContainerSpec): Promise<void> {
    await removeContainer(await this.#ready(), spec);
  }

  async killLeftovers(spec: ContainerSpec): Promise<void> {
    await killLeftovers(await this.#ready(), spec);
  }

  async abandonStart(spec: ContainerSpec): Promise<void> {
    await abandonStart(await this.#ready(), spec);
  }

  async programFor(spec: ContainerSpec, program: Program): Promise<Buffer> {
    return await programFor(await this.#ready(), spec, program);
  }

  async updateResources(spec: ContainerSpec, resources: LinuxContainerResources): Promise<void> {
    await updateResources(await this.#ready(), spec, resources);
  }

  async frozenAt(spec: ContainerSpec): Promise<string | undefined> {
    return frozenAt(await this.#ready(), spec);
  }

  async dialPort(pod: PodSpec, resources: PodResources, port: number, signal: AbortSignal): Promise<PodConnection> {
    return await this.#dialers.dial(pod.id, resources.netns, port, signal);
  }

  async close(): Promise<void> {
    await this.#dialers.close();
    this.#spawner.close();
  }

  /** Facts about the host are read once; a failure is not remembered, the next call tries again. */
  async #ready(): Promise<LcrHost> {
    this.#host ??= this.#look();
    try {
      return await this.#host;
    } catch (error) {
      this.#host = undefined;
      throw error;
    }
  }

  async #look(): Promise<LcrHost> {
    const facts = await readHostFacts();
    if (facts.apparmor && !facts.apparmorDefault)
      this.#log.warn({}, "AppArmor is on and LXC's profile is not loaded: containers are unconfined unless they name a profile");
    return {
      config: this.#config,
      facts,
      log: this.#log,
      run: this.#spawner.run,
      shimCgroups: await prepareShimCgroups(facts.cgroups, this.#config.runtime.cgroupParent),
    };
  }
}
