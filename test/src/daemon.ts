/** A private berthd for one test file: its own folders, sockets and cgroups below a short path, and nothing left when it goes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BerthClient, connect } from '@berth/client';
import { launcherOptions } from '../../packages/daemon/src/testing/launcher-options.ts';
import { collect, type Ran } from './crictl.ts';
import { leftovers } from './leftovers.ts';
import { eventually, readProcess } from './processes.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = join(ROOT, 'packages/daemon/src/main.ts');
/** The archive that set-up makes. */
export const DEFAULT_IMAGE = join(ROOT, '.cache/default-image.tar');

/** How long a daemon may take to serve, ms; generous for a loaded machine. */
const READY_MS = 60_000;
/** How long a daemon may take to stop, ms: above its own limit. */
const STOP_MS = 30_000;

export type DaemonOptions = {
  /** More TOML for the settings file. */
  readonly settings?: string;
  /** Runs the built program by its launcher instead of the sources. */
  readonly built?: boolean;
  readonly logLevel?: 'debug' | 'info';
  /** Where the streaming server listens; any free port of 127.0.0.1 where nothing is said. */
  readonly streaming?: string;
  /** Where the log goes instead of into a file: a descriptor of the test. */
  readonly logTo?: number;
};

/** Starts daemons, kills them, and checks at the end that nothing is left of them. */
export class TestDaemon implements AsyncDisposable {
  /** `/tmp/bt-XXXXXX`: short, because socket paths are. */
  readonly dir = mkdtempSync('/tmp/bt-');
  readonly #options: DaemonOptions;
  #process: ChildProcess | undefined;
  #toldToStop = false;
  #client: BerthClient | undefined;
  #streaming = '';
  #metrics = '';

  private constructor(options: DaemonOptions) {
    this.#options = options;
    const mark = basename(this.dir);
    writeFileSync(
      join(this.dir, 'berthd.toml'),
      `root = "${this.root}"\nstate = "${this.state}"\nlog_level = "${options.logLevel ?? 'info'}"\n[runtime]\ncgroup_parent = "${mark}"\n${options.settings ?? ''}\n`,
    );
  }

  /** Starts a daemon on a free port and waits until it serves. */
  static async start(options: DaemonOptions = {}): Promise<TestDaemon> {
    const daemon = new TestDaemon(options);
    try {
      await daemon.start();
    } catch (error) {
      if (leftovers(basename(daemon.dir)).length === 0) rmSync(daemon.dir, { recursive: true, force: true });
      throw error;
    }
    return daemon;
  }

  /** Folders and settings for a daemon that is not started yet. */
  static prepare(options: DaemonOptions = {}): TestDaemon {
    return new TestDaemon(options);
  }

  get root(): string {
    return join(this.dir, 'r');
  }

  get state(): string {
    return join(this.dir, 's');
  }

  get socket(): string {
    return join(this.state, 'berth.sock');
  }

  /** Where pods put their containers' logs. */
  get logs(): string {
    return join(this.dir, 'l');
  }

  /** What URLs begin with: `http://127.0.0.1:PORT`, or what is advertised. */
  get streaming(): string {
    return this.#streaming;
  }

  /** Where it shows metrics, if its settings say so. */
  get metrics(): string {
    return this.#metrics;
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('the daemon does not run');
    return pid;
  }

  get client(): BerthClient {
    this.#client ??= connect({ socket: this.socket });
    return this.#client;
  }

  /** What the daemons of this test have written to their log so far. */
  log(): string {
    return this.#options.logTo === undefined ? readFileSync(join(this.dir, 'berthd.log'), 'utf8') : '';
  }

  /** Starts the daemon again over the same folders. */
  async start(): Promise<void> {
    const child = this.#spawn([]);
    this.#process = child;
    child.stderr?.pipe(createWriteStream(join(this.dir, 'berthd.log'), { flags: 'a' }));
    [this.#streaming, this.#metrics] = await readyLine(child, () => this.log());
    // One that has found no daemon meanwhile refuses calls for a while, as gRPC's clients do; who calls from here on asks this daemon.
    this.#dropClient();
  }

  /** Starts a daemon over the same folders that must end by itself; `flags` come last, and win. Whichever runs goes on. */
  async startFails(...flags: string[]): Promise<Ran> {
    const child = this.#spawn(flags);
    const ran = collect(child);
    // One that serves after all would do so for ever; its status is another one then.
    child.stdout?.once('data', () => child.kill('SIGTERM'));
    return await ran;
  }

  #spawn(more: readonly string[]): ChildProcess {
    const flags = [
      '--config',
      join(this.dir, 'berthd.toml'),
      '--streaming-address',
      this.#options.streaming ?? '127.0.0.1:0',
      '--default-image',
      DEFAULT_IMAGE,
      ...more,
    ];
    const [command, args] = this.#options.built
      ? [join(ROOT, 'bin/berthd'), flags]
      : [process.execPath, [...launcherOptions(), '--conditions=source', MAIN, ...flags]];
    return spawn(command, args, {
      stdio: ['ignore', 'pipe', this.#options.logTo ?? 'pipe'],
      env: { ...process.env, BERTH_TEST: this.dir },
    });
  }

  /** SIGKILL: as if the machine had taken it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** SIGTERM; containers go on. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  /** Waits for its end by a signal that it has had already. */
  async stopped(): Promise<void> {
    await this.#end();
  }

  signal(signal: NodeJS.Signals): void {
    this.#toldToStop ||= signal === 'SIGTERM';
    this.#process?.kill(signal);
  }

  /** Removes every pod with its containers; the daemon goes on. */
  async removeEverything(): Promise<void> {
    const { items } = await this.client.runtime.listPodSandbox({});
    for (const { id } of items) {
      await this.client.runtime.stopPodSandbox({ podSandboxId: id });
      await this.client.runtime.removePodSandbox({ podSandboxId: id });
    }
  }

  /** Process ids of the shims that the state folder names. */
  shimPids(): number[] {
    return globSync(join(this.state, '*/shim.pid'))
      .map((file) => Number.parseInt(readFileSync(file, 'utf8'), 10))
      .filter((pid) => readProcess(pid)?.command.includes('shim') === true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const mark = basename(this.dir);
    const shims = this.shimPids();
    try {
      // One that a failed test has told to stop would end in the midst of the cleaning.
      if (this.#toldToStop) await this.stop();
      if (this.#process === undefined) await this.start();
      this.signal('SIGCONT');
      await this.removeEverything();
      await this.stop();
      const left = (): string[] => [
        ...leftovers(mark),
        ...shims.filter((pid) => readProcess(pid)?.command.includes('shim') === true).map((pid) => `shim ${pid}`),
      ];
      await eventually('nothing is left', () => left().length === 0, 20_000).catch(() => {
        throw new Error(`left behind:\n${left().join('\n')}`);
      });
    } catch (error) {
      // The log says more than the failure; folders stay for a look at them only when somebody wants that.
      process.stderr.write(`${tail(this.log())}\n`);
      throw error;
    } finally {
      this.#process?.kill('SIGKILL');
      if (process.env['BERTH_TEST_KEEP'] === undefined && leftovers(mark).length === 0)
        rmSync(this.dir, { recursive: true, force: true });
    }
  }

  #dropClient(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  async #end(signal?: NodeJS.Signals): Promise<void> {
    this.#dropClient();
    const child = this.#process;
    if (child === undefined) return;
    this.#process = undefined;
    this.#toldToStop = false;
    if (signal !== undefined) child.kill(signal);
    await eventually(`berthd ends by ${signal ?? 'itself'}`, () => child.exitCode !== null || child.signalCode !== null, STOP_MS);
    if (signal !== 'SIGKILL' && child.exitCode !== 0) throw new Error(`berthd ended with ${child.exitCode ?? child.signalCode}`);
  }
}

/** Waits until so many sessions of a container have begun, by the daemon's audit lines. */
export async function sessionsBegun(daemon: TestDaemon, containerId: string, count: number): Promise<void> {
  await eventually('the clients are attached', () => {
    const lines = daemon.log().split('\n');
    return lines.filter((line) => line.includes('"phase":"begin"') && line.includes(containerId)).length >= count;
  });
}

/** Waits for the line that a serving daemon prints; gives the URLs of the streaming server and of metrics. */
async function readyLine(child: ChildProcess, log: () => string): Promise<[streaming: string, metrics: string]> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return await eventually(
    'berthd is ready',
    () => {
      const end = child.exitCode ?? child.signalCode;
      if (end !== null) throw new Error(`berthd ended with ${end}:\n${tail(log())}`);
      const [, streaming, metrics = ''] = /^berthd ready socket=\S+ streaming=(\S+)(?: metrics=(\S+))?$/m.exec(text) ?? [];
      return streaming === undefined ? undefined : [streaming, metrics];
    },
    READY_MS,
  );
}

const tail = (text: string): string => text.split('\n').slice(-30).join('\n');
