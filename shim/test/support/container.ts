/** Real containers for the shim's tests: a busybox rootfs in a temporary directory, an LXC configuration, and `berth-shim run`. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Peer } from './peer.ts';

const BUILD = join(import.meta.dirname, '..', '..', 'build');
/** BERTH_SHIM names another build, for example the one under sanitizers. */
export const SHIM = process.env['BERTH_SHIM'] ?? join(BUILD, 'berth-shim');
/** `make faults` */
const FAULTY_SHIM = join(BUILD, 'berth-shim-faults');
const LXC_START = '/usr/bin/lxc-start';
/** What every user of LXC has in common: it stays. */
const LXC_RUN: readonly string[] = ['/run/lxc', '/run/lxc/lock'];
/** How long anything is waited for that takes milliseconds on a quiet machine. */
const WAIT_MS = 60_000;

const APPLETS =
  'sh awk cat echo ls ps id stat sleep true false dd head tail seq kill mount touch chmod rm mkdir yes tr wc printf stty tty env sha256sum od ln usleep grep cut readlink hostname test cmp tee'.split(
    ' ',
  );

const needed = (): string | undefined => {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync(LXC_START)) return 'needs the package lxc';
  if (!existsSync('/bin/busybox')) return 'needs the package busybox-static';
  if (!existsSync(SHIM)) return 'needs shim/build/berth-shim (make -C shim)';
  return undefined;
};

/** Why tests with real containers cannot run here; false when they can. CI asks for them with BERTH_REQUIRE_LXC=1. */
export const SKIP: string | false = process.env['BERTH_REQUIRE_LXC'] === '1' ? false : (needed() ?? false);

export type Options = {
  readonly args: readonly string[];
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly tty?: boolean;
  readonly rows?: number;
  readonly cols?: number;
  readonly stdin?: boolean;
  /** False: no log. A string: the path below the log directory. */
  readonly log?: boolean | string;
  readonly logDir?: string;
  readonly ring?: number;
  readonly lateMs?: number;
  readonly stallMs?: number;
  readonly drainMs?: number;
  readonly partialMs?: number;
  /** More of the shim's own configuration, `key=value`. */
  readonly more?: readonly string[];
  /** More lines of LXC configuration. */
  readonly lxc?: readonly string[];
  /** A cgroup of the memory hierarchy, with a limit: for OOM kills. */
  readonly memory?: number;
  /** Which call of which process fails, in the build for that (faults.c). */
  readonly fault?: string;
  readonly before?: (container: Container) => void;
};

export type Started = {
  readonly ok: boolean;
  readonly line: string;
  readonly kind: string;
  readonly text: string;
  readonly pid: number;
};
export type ExitRecord = {
  readonly kind: string;
  readonly code: number;
  readonly signal: number;
  readonly oom: boolean;
  readonly offset: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly drained: boolean;
  readonly reason: string;
};

/** Cgroup hierarchies in which LXC makes a payload cgroup, pids (for finding processes) first. */
function hierarchies(): string[] {
  const all = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4] ?? '');
  return all.sort((a, b) => Number(b.endsWith('/pids')) - Number(a.endsWith('/pids')));
}

/** True where all controllers are cgroup v2's, at its usual place. */
export const UNIFIED = existsSync('/sys/fs/cgroup/cgroup.controllers');

/** Parent of this test process's cgroups: another test file that ends must not take it away. */
const GROUP = `berth-test-${process.pid}`;
process.on('exit', () => {
  for (const mount of hierarchies()) removeCgroups(`${mount}/${GROUP}`);
});

/** LXC leaves its pivot behind, with a folder in it. */
function removeCgroups(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeCgroups(join(path, entry.name));
  rmdirSync(path);
}

/** Removes a folder that LXC has made, all that is in it, and those above that are empty then. */
function removeLxcFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
  try {
    for (let above = dirname(path); !LXC_RUN.includes(above); above = dirname(above)) rmdirSync(above);
  } catch {
    // Not empty, or another test's end was quicker.
  }
}

export class Container {
  readonly id = `shimtest-${randomBytes(6).toString('hex')}`;
  readonly dir = mkdtempSync(join(tmpdir(), 'berth-shim-'));
  readonly secret = randomBytes(32).toString('hex');
  readonly rootfs = join(this.dir, 'rootfs');
  readonly state = join(this.dir, 'state');
  readonly record = join(this.dir, 'exit.json');
  readonly spareRecord = join(this.state, 'exit.json');
  readonly lxcPath = join(this.dir, 'lxc');
  /** Where LXC makes folders; the last part of `lxcPath` comes below. */
  readonly #lxcRun = LXC_RUN.map((run) => `${run}${this.dir}`);
  readonly oom = join(this.dir, 'oom');
  readonly logDir: string;
  readonly logPath: string;
  readonly options: Options;
  readonly cgroups: readonly string[];
  readonly peers: Peer[] = [];

  constructor(options: Options) {
    this.options = options;
    this.logDir = options.logDir ?? join(this.dir, 'log');
    this.logPath = typeof options.log === 'string' ? options.log : '0.log';
    this.cgroups = hierarchies().map((mount) => `${mount}/${GROUP}/${this.id}`);
    for (const path of [this.state, this.lxcPath, this.logDir, join(this.lxcPath, this.id)]) mkdirSync(path, { recursive: true });
    // Before LXC does, which fails where the end of another test takes a folder away while it makes the next.
    for (const path of this.#lxcRun) mkdirSync(path, { recursive: true });
    this.#makeRootfs();
    // The trampoline is always the static build: a sanitizer's libraries are not in the container.
    copyFileSync(join(BUILD, 'berth-shim'), join(this.dir, 'berth-shim'));
    chmodSync(join(this.dir, 'berth-shim'), 0o755);
    chmodSync(this.dir, 0o755);
    writeFileSync(this.lxcConfig, this.#lxcConfig());
    options.before?.(this);
  }

  get lxcConfig(): string {
    return join(this.lxcPath, this.id, 'config');
  }
  get shim(): string {
    return join(this.dir, 'berth-shim');
  }
  get socket(): string {
    return join(this.state, 'shim.sock');
  }
  get log(): string {
    return join(this.logDir, this.logPath);
  }
  get lxcLog(): string {
    return join(this.dir, 'lxc.log');
  }

  #makeRootfs(): void {
    for (const path of ['bin', 'dev', 'proc', 'sys', 'tmp', 'etc', 'usr/bin'])
      mkdirSync(join(this.rootfs, path), { recursive: true });
    chmodSync(join(this.rootfs, 'tmp'), 0o1777);
    copyFileSync('/bin/busybox', join(this.rootfs, 'bin/busybox'));
    for (const applet of APPLETS) symlinkSync('busybox', join(this.rootfs, 'bin', applet));
    writeFileSync(join(this.rootfs, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nuser:x:1234:1234::/:/bin/sh\n');
  }

  #lxcConfig(): string {
    const memory = UNIFIED ? this.cgroups[0] : this.cgroups.find((path) => path.includes('/memory/'));
    const [limit, counter] = UNIFIED
      ? ['lxc.cgroup2.memory.max', 'memory.events']
      : ['lxc.cgroup.memory.limit_in_bytes', 'memory.oom_control'];
    return [
      `lxc.rootfs.path = dir:${this.rootfs}`,
      'lxc.console.path = none',
      'lxc.tty.max = 0',
      'lxc.pty.max = 1024',
      'lxc.autodev = 1',
      'lxc.mount.auto = proc:mixed sys:mixed',
      'lxc.net.0.type = none',
      `lxc.cgroup.dir.container = ${GROUP}/${this.id}`,
      `lxc.cgroup.dir.monitor = ${GROUP}/${this.id}-monitor`,
      `lxc.cgroup.dir.monitor.pivot = ${GROUP}/pivot`,
      ...(this.options.memory === undefined ? [] : [`${limit} = ${this.options.memory}`]),
      ...(memory === undefined ? [] : [`lxc.hook.stop = ${this.shim} oom-hook ${memory}/${counter} ${this.oom}`]),
      ...(this.options.lxc ?? []),
      '',
    ].join('\n');
  }

  /** The configuration that the shim reads. */
  configuration(): string {
    const o = this.options;
    const pairs: [string, string | number | undefined][] = [
      ['id', this.id],
      ['secret', this.secret],
      ['state', this.state],
      ['record', this.record],
      ['lxc-start', LXC_START],
      ['lxc-name', this.id],
      ['lxc-path', this.lxcPath],
      ['lxc-config', this.lxcConfig],
      ['lxc-log', this.lxcLog],
      ['trampoline', this.shim],
      ...o.args.map((arg): [string, string] => ['arg', arg]),
      ...(o.env ?? ['PATH=/bin']).map((env): [string, string] => ['env', env]),
      ['cwd', o.cwd],
      ['tty', o.tty ? 1 : undefined],
      ['rows', o.rows],
      ['cols', o.cols],
      ['stdin', o.stdin ? 1 : undefined],
      ['log-dir', o.log === false ? undefined : this.logDir],
      ['log-path', o.log === false ? undefined : this.logPath],
      ['ring', o.ring],
      ['late-ms', o.lateMs],
      ['stall-ms', o.stallMs],
      ['drain-ms', o.drainMs],
      ['partial-ms', o.partialMs],
      ...this.cgroups.map((path): [string, string] => ['cgroup', path]),
      ...this.cgroups.map((path): [string, string] => ['monitor-cgroup', `${path}-monitor`]),
      ['oom', this.oom],
    ];
    return [...pairs.filter(([, value]) => value !== undefined).map(([key, value]) => `${key}=${value}`), ...(o.more ?? [])]
      .map((entry) => `${entry}\0`)
      .join('');
  }

  async start(configuration = this.configuration()): Promise<Started> {
    const { fault } = this.options;
    const child = spawn(fault === undefined ? SHIM : FAULTY_SHIM, ['run'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...(fault === undefined ? {} : { BERTH_FAULT: fault }) },
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(configuration);
    let line = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      line += text;
    });
    const status = await new Promise((resolve) => child.on('close', resolve));
    const match = /^(ok|error) (\S+) ?(.*)\n$/.exec(line);
    if (match === null || (match[1] === 'ok') !== (status === 0))
      throw new Error(`status ${String(status)}, line ${JSON.stringify(line)}`);
    return { ok: match[1] === 'ok', line, kind: match[2] ?? '', text: match[3] ?? '', pid: Number(match[2]) };
  }

  async connect(): Promise<Peer> {
    const peer = await Peer.open(this.socket, this.secret);
    this.peers.push(peer);
    return peer;
  }

  /** Runs a program besides init and waits until it runs. */
  async exec(command: readonly string[], ...more: readonly string[]): Promise<Peer> {
    const peer = this.tryExec(command, ...more);
    await peer.until(() => peer.has(0x81));
    return peer;
  }

  tryExec(command: readonly string[], ...more: readonly string[]): Peer {
    const peer = Peer.exec(this.socket, this.secret, [...command.map((arg) => `arg=${arg}`), 'env=PATH=/bin', ...more]);
    this.peers.push(peer);
    return peer;
  }

  /** Starts the container, connects, and subscribes from the first byte. */
  async attach(): Promise<Peer> {
    const started = await this.start();
    if (!started.ok) throw new Error(started.line);
    const peer = await this.connect();
    peer.subscribe(0);
    peer.fromStart = true;
    return peer;
  }

  get shimPid(): number {
    return Number(readFileSync(join(this.state, 'shim.pid'), 'utf8'));
  }

  /** Pid of `lxc-start`, the shim's child. */
  get monitorPid(): number {
    return Number(readFileSync(`/proc/${this.shimPid}/task/${this.shimPid}/children`, 'utf8').trim().split(' ')[0]);
  }

  async exitRecord(): Promise<ExitRecord> {
    await until(() => existsSync(this.record), 'the exit record');
    return JSON.parse(readFileSync(this.record, 'utf8')) as ExitRecord;
  }

  /** What is left on the machine of a container that has ended. */
  leftovers(): string[] {
    const found = this.cgroups.flatMap((path) => [path, `${path}-monitor`]).filter((path) => existsSync(path));
    // The shim takes down what is this container's alone.
    for (const path of [...this.#lxcRun.map((above) => `${above}/lxc`), this.socket]) if (existsSync(path)) found.push(path);
    for (const path of this.#lxcRun) if (!existsSync(path)) found.push(`${path} is gone: other containers may use it`);
    if (readFileSync('/proc/self/mountinfo', 'utf8').includes(this.dir)) found.push('a mount');
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(this.id)) found.push(`process ${pid}`);
        if (readFileSync(`/proc/${pid}/cgroup`, 'latin1').includes(this.id)) found.push(`process ${pid} in its cgroup`);
      } catch {
        // It ended while we looked.
      }
    }
    return found;
  }

  /** Ends whatever is left and removes the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.peers) await peer.end();
    const pids = new Set<number>();
    try {
      if (this.monitorPid > 0) pids.add(this.monitorPid);
    } catch {
      // It has ended already.
    }
    for (const path of this.cgroups) {
      if (!existsSync(path)) continue;
      for (const pid of readFileSync(`${path}/cgroup.procs`, 'utf8').split('\n').filter(Boolean)) pids.add(Number(pid));
    }
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone.
      }
    }
    await until(() => !existsSync(this.socket), 'the end of the shim').catch(() => undefined);
    for (const path of this.cgroups.flatMap((name) => [name, `${name}-monitor`])) {
      if (existsSync(path)) execFileSync('rmdir', [path], { stdio: 'ignore' });
    }
    this.#lxcRun.forEach(removeLxcFolder);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A seccomp filter in a file, compiled from a policy; without one: bytes that are no filter. */
export class Filter {
  readonly dir = mkdtempSync(join(tmpdir(), 'berth-filter-'));
  readonly path = join(this.dir, 'filter');

  constructor(policy: string | undefined) {
    if (policy === undefined) {
      writeFileSync(this.path, 'no filter');
      return;
    }
    writeFileSync(join(this.dir, 'policy'), policy);
    try {
      execFileSync(join(BUILD, 'berth-seccomp'), [join(this.dir, 'policy'), this.path]);
    } catch (error) {
      // One that is refused is nobody's to dispose of.
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true });
  }
}

/** A pid namespace with a pid 1 that reaps, as pods that share one have it. */
export class Pause {
  readonly dir = mkdtempSync(join(tmpdir(), 'berth-pause-'));
  readonly pid: number;

  constructor(...more: readonly string[]) {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', this.dir]);
    execFileSync('mount', ['--make-private', this.dir]);
    this.pid = Number(execFileSync(SHIM, ['pause', '--dir', this.dir, ...more], { encoding: 'utf8' }));
  }

  get lxc(): string {
    return `lxc.namespace.share.pid = ${this.dir}/pid`;
  }

  [Symbol.dispose](): void {
    process.kill(this.pid, 'SIGKILL');
    execFileSync('umount', ['-R', '-l', this.dir]);
    rmSync(this.dir, { recursive: true });
  }
}

export async function until(test: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + WAIT_MS;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`not within ${WAIT_MS} ms: ${what}`);
    await sleep(5);
  }
}

export type LogRecord = { readonly stream: 'stdout' | 'stderr'; readonly kind: 'P' | 'F'; readonly content: Buffer };

/** The CRI records of a log file from a position on; throws where it is not one. */
export function readLog(path: string, position = 0): LogRecord[] {
  const bytes = readFileSync(path);
  const records: LogRecord[] = [];
  for (let at = position; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    if (end < 0) throw new Error(`${path}: the last record is not ended`);
    const head = bytes.subarray(at, at + 40).toString('latin1');
    const match = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([PF]) $/.exec(head);
    if (match === null) throw new Error(`${path}: not a record at ${at}: ${head}`);
    records.push({ stream: match[1] as 'stdout' | 'stderr', kind: match[2] as 'P' | 'F', content: bytes.subarray(at + 40, end) });
    at = end + 1;
  }
  return records;
}

/** The bytes that records stand for. */
export function logBytes(records: readonly LogRecord[], stream?: 'stdout' | 'stderr'): Buffer {
  const newline = Buffer.from('\n');
  const wanted = records.filter((record) => stream === undefined || record.stream === stream);
  return Buffer.concat(wanted.flatMap((record) => (record.kind === 'F' ? [record.content, newline] : [record.content])));
}
