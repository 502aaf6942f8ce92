/** For the tests with real containers: a private root and state directory, a busybox image, running to the end, looking for leftovers. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { ContainerConfigSchema, PodSandboxConfigSchema } from '@berth/cri-api';
import type { Config } from '../config/config.ts';
import type { Image, ImageRunConfig } from '../image/image.ts';
import { type ContainerSpec, exitRecordPath, type PodSpec, type Runtime } from '../runtime/runtime.ts';
import { silentLog } from '../util/log.ts';
import { prepareHost, releaseHost } from './host.ts';
import { lxcRunDirectories } from './paths.ts';
import { createLcrRuntime } from './lcr-runtime.ts';

/** Generous: the machine may be swamped, and a hang must still end. */
const EXIT_TIMEOUT_MS = 60_000;

export type Finished = {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
  readonly oom: boolean;
};

export type GatedRuntime = {
  readonly runtime: Runtime;
  /** Resolves when lxc-start waits, with its pid. */
  readonly reached: () => Promise<number>;
  readonly open: () => void;
};

/** Everything that a suite needs; `close` fails when something was left behind. */
export class LxcFixture {
  readonly top: string;
  readonly config: Config;
  readonly runtime: Runtime;
  readonly layer: string;
  readonly cgroup: string;
  readonly #pods: PodSpec[] = [];
  readonly #containers: ContainerSpec[] = [];

  private constructor(top: string) {
    this.top = top;
    this.layer = `${top}/layer`;
    this.cgroup = `/berth-test-${randomBytes(4).toString('hex')}`;
    this.config = {
      root: `${top}/root`,
      state: `${top}/s`,
      socket: `${top}/s/berth.sock`,
      streaming: { host: '127.0.0.1', port: 0, ticketTtlMs: 1, maxTickets: 1, maxSessions: 1, maxSessionsPerContainer: 1 },
      stdio: { ringBytes: 65_536, liveBufferBytes: 1, maxLagBytes: 1, slow: 'block', stallMs: 10_000, exitCodeStatus: false },
      runtime: {
        lxcStart: '/usr/bin/lxc-start',
        shim: process.env['BERTH_SHIM'] ?? fileURLToPath(new URL('../../../../shim/build/berth-shim', import.meta.url)),
        cgroupParent: this.cgroup,
      },
      logLevel: 'error',
    } as Config;
    this.runtime = createLcrRuntime(this.config, silentLog);
  }

  static async open(): Promise<LxcFixture> {
    assert.equal(process.getuid?.(), 0, 'these tests make containers: run them as root');
    // Short, because socket paths are; a sticky parent is allowed.
    const fixture = new LxcFixture(mkdtempSync('/tmp/lcr-'));
    await fixture.#makeLayer();
    await prepareHost(fixture.config);
    return fixture;
  }

  async #makeLayer(): Promise<void> {
    for (const directory of ['bin', 'etc', 'tmp', 'run', 'var', 'root'])
      mkdirSync(`${this.layer}/${directory}`, { recursive: true });
    await copyFile('/bin/busybox', `${this.layer}/bin/busybox`);
    for (const applet of execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n'))
      if (applet && applet !== 'busybox') symlinkSync('busybox', `${this.layer}/bin/${applet}`);
  }

  image(run: Partial<ImageRunConfig> = {}, layers: readonly string[] = [this.layer]): Image {
    const defaults: ImageRunConfig = {
      user: '',
      env: [],
      entrypoint: [],
      cmd: ['/bin/sh'],
      workingDir: '',
      volumes: [],
      stopSignal: '',
      labels: {},
    };
    return { id: `sha256:${'0'.repeat(64)}`, names: ['test:latest'], size: 1, layers, run: { ...defaults, ...run } };
  }

  /** Configs are in protobuf's JSON form: enums by name, 64-bit numbers as strings. A pod whose containers have pid namespaces of their own unless told otherwise, and whose log directory is ours. */
  async pod(config: JsonObject = {}): Promise<PodSpec> {
    const id = randomBytes(32).toString('hex');
    mkdirSync(`${this.top}/logs/${id}`, { recursive: true });
    const pod: PodSpec = {
      id,
      config: fromJson(PodSandboxConfigSchema, {
        metadata: { name: 'pod', uid: 'u', namespace: 'n', attempt: 0 },
        logDirectory: `${this.top}/logs/${id}`,
        linux: { securityContext: { namespaceOptions: { pid: 'CONTAINER' } } },
        ...config,
      }),
    };
    await this.runtime.createPod(pod);
    this.#pods.push(pod);
    return pod;
  }

  spec(pod: PodSpec, config: JsonObject, image: Image = this.image()): ContainerSpec {
    const id = randomBytes(32).toString('hex');
    return {
      id,
      pod,
      image,
      secret: randomBytes(32).toString('hex'),
      config: fromJson(ContainerConfigSchema, { metadata: { name: 'c', attempt: 0 }, logPath: `${id}/0.log`, ...config }),
    };
  }

  async create(pod: PodSpec, config: JsonObject, image?: Image): Promise<ContainerSpec> {
    const spec = this.spec(pod, config, image);
    await this.runtime.createContainer(spec);
    this.#containers.push(spec);
    return spec;
  }

  /** Creates and starts a shell script as init. */
  async start(pod: PodSpec, script: string, config: JsonObject = {}, image?: Image): Promise<ContainerSpec> {
    const spec = await this.create(pod, { command: ['/bin/sh', '-c', script], ...config }, image);
    await this.runtime.startContainer(spec);
    return spec;
  }

  /** Runs a shell script as init to its end and gives what it wrote. */
  async run(pod: PodSpec, script: string, config: JsonObject = {}, image?: Image): Promise<Finished> {
    return await this.wait(await this.start(pod, script, config, image));
  }

  /** A runtime of its own whose lxc-start waits until its gate is opened. */
  gated(): GatedRuntime {
    const gate = `${this.top}/gate-${randomBytes(4).toString('hex')}`;
    const lxcStart = `${gate}.sh`;
    const wait = `echo $$ >${gate}.new; mv ${gate}.new ${gate}.pid; while [ ! -e ${gate} ]; do sleep 0.05; done`;
    writeFileSync(lxcStart, `#!/bin/sh\n${wait}\nexec /usr/bin/lxc-start "$@"\n`, { mode: 0o755 });
    return {
      runtime: createLcrRuntime({ ...this.config, runtime: { ...this.config.runtime, lxcStart } }, silentLog),
      reached: async () => {
        while (!existsSync(`${gate}.pid`)) await sleep(5);
        return Number(readFileSync(`${gate}.pid`, 'utf8'));
      },
      open: () => writeFileSync(gate, ''),
    };
  }

  shimOf(spec: ContainerSpec): number {
    return Number(readFileSync(`${this.config.state}/${spec.id}/shim.pid`, 'utf8'));
  }

  async wait(spec: ContainerSpec): Promise<Finished> {
    const path = exitRecordPath(this.config.root, spec.id);
    const deadline = performance.now() + EXIT_TIMEOUT_MS;
    while (!existsSync(path)) {
      assert.ok(performance.now() < deadline, 'the container did not end');
      await sleep(5);
    }
    const record = JSON.parse(readFileSync(path, 'utf8')) as { code: number; oom: boolean };
    return { ...this.log(spec), code: record.code, oom: record.oom };
  }

  log(spec: ContainerSpec): { readonly stdout: string; readonly stderr: string } {
    const text = { stdout: '', stderr: '' };
    for (const line of readFileSync(`${spec.pod.config.logDirectory}/${spec.config.logPath}`, 'utf8').split('\n').filter(Boolean)) {
      const [, stream = '', tag, ...content] = line.split(' ');
      text[stream === 'stderr' ? 'stderr' : 'stdout'] += `${content.join(' ')}${tag === 'F' ? '\n' : ''}`;
    }
    return text;
  }

  /** Removes everything and checks that the host is as it was. */
  async close(): Promise<void> {
    for (const spec of this.#containers) await this.runtime.removeContainer(spec);
    for (const pod of this.#pods) await this.runtime.removePod(pod);
    assert.deepEqual(readdirSync(`${this.config.root}/containers`), [], 'a container directory is left');
    rmSync(`${this.config.state}/seccomp`, { recursive: true, force: true });
    assert.equal(await releaseHost(this.config), true);
    // A shim that has nothing more to do may still be on its way out.
    for (let attempt = 0; attempt < 100 && this.leftovers().length > 0; attempt++) await sleep(20);
    assert.deepEqual(this.leftovers(), []);
    rmSync(this.top, { recursive: true });
  }

  /** Mounts, cgroups, processes and LXC directories that belong to this fixture. */
  leftovers(): readonly string[] {
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.top));
    const cgroups = execFileSync('find', ['/sys/fs/cgroup', '-maxdepth', '3', '-name', `${this.cgroup.slice(1)}*`], {
      encoding: 'utf8',
    })
      .split('\n')
      .filter(Boolean);
    const run = lxcRunDirectories(this.top).filter((path) => existsSync(path));
    const processes = readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/exe`).startsWith(this.top);
      } catch {
        return false;
      }
    });
    return [...mounts, ...cgroups, ...run, ...processes.map((pid) => `process ${pid}`)];
  }
}
