/**
 * A runtime without containers, so that everything above it is tested without root. It stands for the host: it outlives the daemon that is
 * tested, holds pods and containers, leaves exit records on disk, and can be told to fail.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { duplexPair } from 'node:stream';
import { dirname } from 'node:path';
import { type LinuxContainerResources, NamespaceMode } from '@berth/cri-api';
import { type ExitRecord, type Shim, ShimLost } from '../stdio/shim.ts';
import { BerthError } from '../util/errors.ts';
import { exitRecord } from './exit-record.ts';
import { fakeExec } from './fake-exec.ts';
import { FakeShim } from './fake-shim.ts';
import {
  type ContainerSpec,
  type CreatedContainer,
  exitRecordPath,
  type PodConnection,
  type PodResources,
  type PodSpec,
  type Program,
  type Runtime,
  type StartedContainer,
} from '../runtime/runtime.ts';

type FakeContainer = {
  readonly spec: ContainerSpec;
  state: 'created' | 'running' | 'ended';
  /** Processes are left though the shim is gone. */
  leftovers: boolean;
  pid: number;
  shim: FakeShim | undefined;
  /** Nobody listens any more. */
  shimDead: boolean;
  record: ExitRecord | undefined;
  readonly signals: { readonly signal: number; readonly everything: boolean }[];
  frozenAt: string | undefined;
};

const SIGKILL = 9;
/** Far above any pid of the machine: nothing real is meant. */
const FIRST_PID = 5_000_000;

export class FakeRuntime implements Runtime {
  name = 'lcr';
  readonly pods = new Map<string, PodSpec>();
  /** Those whose shared pid namespace has ended. */
  readonly podsEnded = new Set<string>();
  readonly containers = new Map<string, FakeContainer>();
  /** Command lines of programs besides init, in order. */
  readonly execs: string[][] = [];
  execsKilled = 0;
  /** Called before every operation with its name: throw to make it fail, wait to make it slow. */
  before: (operation: string, id: string) => Promise<void> | void = () => {};
  readonly #root: string;
  #nextPid = FIRST_PID;

  constructor(root: string) {
    this.#root = root;
  }

  async version(): Promise<string> {
    await this.before('version', '');
    return 'fake';
  }

  async createPod(pod: PodSpec): Promise<PodResources> {
    await this.before('createPod', pod.id);
    this.pods.set(pod.id, pod);
    return pod.config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE
      ? {}
      : { netns: `/fake/${pod.id}/net` };
  }

  async podStands(pod: PodSpec): Promise<boolean> {
    return this.pods.has(pod.id);
  }

  async podRuns(pod: PodSpec): Promise<boolean> {
    return !this.podsEnded.has(pod.id);
  }

  async removePod(pod: PodSpec): Promise<void> {
    await this.before('removePod', pod.id);
    this.pods.delete(pod.id);
  }

  /** Refuses a container without a command, as the real one does. */
  async createContainer(spec: ContainerSpec): Promise<CreatedContainer> {
    await this.before('createContainer', spec.id);
    if (spec.config.command.length === 0)
      throw new BerthError('invalid-argument', 'COMMAND_MISSING', 'the container has no command');
    this.containers.set(spec.id, {
      spec,
      state: 'created',
      leftovers: false,
      pid: 0,
      shim: undefined,
      shimDead: false,
      record: undefined,
      signals: [],
      frozenAt: undefined,
    });
    const { logDirectory } = spec.pod.config;
    const { logPath } = spec.config;
    return {
      stopSignal: 15,
      user: { uid: 1000, gid: 1000, groups: [1000, 7] },
      ...(logDirectory === '' || logPath === '' ? {} : { logPath: `${logDirectory}/${logPath}` }),
    };
  }

  /** The command `missing` is not there. */
  async startContainer(spec: ContainerSpec): Promise<StartedContainer> {
    await this.before('startContainer', spec.id);
    const container = this.#get(spec.id);
    if (spec.config.command[0] === 'missing')
      throw new BerthError('invalid-argument', 'COMMAND_NOT_FOUND', 'missing: not found in the container');
    container.state = 'running';
    container.pid = this.#nextPid++;
    return { pid: container.pid };
  }

  async removeContainer(spec: ContainerSpec): Promise<void> {
    await this.before('removeContainer', spec.id);
    this.containers.delete(spec.id);
  }

  async killLeftovers(spec: ContainerSpec): Promise<void> {
    await this.before('killLeftovers', spec.id);
    const container = this.containers.get(spec.id);
    if (container === undefined) return;
    container.leftovers = false;
    if (container.state === 'running') container.state = 'ended';
  }

  async abandonStart(spec: ContainerSpec): Promise<void> {
    await this.before('abandonStart', spec.id);
    const container = this.containers.get(spec.id);
    if (container === undefined) return;
    container.shimDead = true;
    await this.killLeftovers(spec);
  }

  async updateResources(spec: ContainerSpec, _resources: LinuxContainerResources): Promise<void> {
    await this.before('updateResources', spec.id);
  }

  async frozenAt(spec: ContainerSpec): Promise<string | undefined> {
    await this.before('frozenAt', spec.id);
    return this.containers.get(spec.id)?.frozenAt;
  }

  /** Somebody freezes a container; `undefined` thaws it. */
  freeze(id: string, at: string | undefined): void {
    this.#get(id).frozenAt = at;
  }

  /** Every port is there, and sends back what it gets. */
  async dialPort(pod: PodSpec, _resources: PodResources, port: number, signal: AbortSignal): Promise<PodConnection> {
    await this.before('dialPort', `${pod.id}:${port}`);
    signal.throwIfAborted();
    const [ours, theirs] = duplexPair();
    theirs.pipe(theirs);
    return ours;
  }

  async close(): Promise<void> {}

  /** The command line as it is: `connectExec` reads it again. */
  async programFor(spec: ContainerSpec, program: Program): Promise<Buffer> {
    await this.before('programFor', spec.id);
    return Buffer.from(JSON.stringify(program.command));
  }

  /** What `connectExec` is to the real daemon. */
  readonly connectExec = async (_path: string, _secret: string, program: Uint8Array): Promise<Shim> => {
    this.execs.push(JSON.parse(Buffer.from(program).toString()) as string[]);
    return fakeExec(this.execs.at(-1) ?? [], () => {
      this.execsKilled += 1;
    });
  };

  /** What `connectShim` is to the real daemon. */
  readonly connectShim = async (path: string, secret: string): Promise<Shim> => {
    const id = path.split('/').at(-2) ?? '';
    const container = this.containers.get(id);
    if (container === undefined || container.state === 'created' || container.shimDead)
      throw new ShimLost(path, { cause: Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' }) });
    if (container.spec.secret !== secret) throw new ShimLost(`${path}: closed by the shim`);
    container.shim?.lose(new ShimLost('replaced'));
    const { tty, stdin, logPath } = container.spec.config;
    const shim = new FakeShim(
      {
        shimPid: container.pid - 1,
        initPid: container.pid,
        state: container.state === 'running' ? 'running' : 'exited',
        tty,
        stdin: stdin ? 'open' : 'none',
        hasLog: logPath !== '',
        first: 0n,
        next: 0n,
        startedAtNs: 1_700_000_000_000_000_001n,
        logBytesLost: 0n,
        logLosses: 0n,
        stdinCredit: 0,
      },
      {
        signal: (signal, everything) => void this.#signal(container, signal, everything),
        left: () => {
          container.shimDead = true;
        },
      },
    );
    container.shim = shim;
    if (container.record !== undefined) shim.tellExit(container.record);
    return shim;
  };

  /** Init ends: the record is written, whoever is connected is told. */
  async exit(id: string, code: number, more: Partial<ExitRecord> = {}): Promise<void> {
    const container = this.#get(id);
    if (container.state !== 'running') return;
    container.state = 'ended';
    container.record = exitRecord(code, {
      startedAtNs: 1_700_000_000_000_000_001n,
      finishedAtNs: 1_700_000_000_000_000_002n,
      ...more,
    });
    await this.#writeRecord(id, container.record);
    container.shim?.tellExit(container.record);
  }

  /** The shim is killed; what it supervised goes on. */
  killShim(id: string): void {
    const container = this.#get(id);
    container.shimDead = true;
    container.leftovers = true;
    container.shim?.lose(new ShimLost('connection reset'));
    container.shim = undefined;
  }

  /** The daemon's connection breaks; the shim listens on. */
  dropConnection(id: string): void {
    const { shim } = this.#get(id);
    this.#get(id).shim = undefined;
    shim?.lose(new ShimLost('connection reset'));
  }

  /** The daemon has died: every shim notices, ended ones leave. */
  daemonDied(): void {
    for (const container of this.containers.values()) {
      container.shim = undefined;
      if (container.state === 'ended') container.shimDead = true;
    }
  }

  async #signal(container: FakeContainer, signal: number, everything: boolean): Promise<void> {
    container.signals.push({ signal, everything });
    const ignores = container.spec.config.command[0] === 'ignore-signals';
    if (signal === SIGKILL) await this.exit(container.spec.id, 137);
    else if (!ignores) await this.exit(container.spec.id, 0);
  }

  async #writeRecord(id: string, record: ExitRecord): Promise<void> {
    const path = exitRecordPath(this.#root, id);
    const { startedAtNs, finishedAtNs, offset, ...rest } = record;
    await mkdir(dirname(path), { recursive: true });
    await writeFile(
      path,
      JSON.stringify({ ...rest, offset: `${offset}`, startedAt: `${startedAtNs}`, finishedAt: `${finishedAtNs}` }),
    );
  }

  #get(id: string): FakeContainer {
    const container = this.containers.get(id);
    if (container === undefined) throw new Error(`the fake runtime has no container ${id}`);
    return container;
  }
}
