/** Starts a container: writes LXC's config, runs the shim, and turns its answer into a pid or an error. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { commandNotExecutable, commandNotFound } from '../runtime/command-errors.ts';
import {
  type ContainerSpec,
  exitRecordPath,
  spareRecordPath,
  START_TIMEOUT_MS,
  type StartedContainer,
} from '../runtime/runtime.ts';
import { readStartTime } from '../util/boot.ts';
import { BerthError } from '../util/errors.ts';
import { unless } from '../util/errno.ts';
import { cgroupDirectories } from './cgroups.ts';
import { abandonStart, readLimits, readPlan, removeRuntimeTraces } from './container.ts';
import { identitySettings } from './identity.ts';
import type { LcrHost } from './lcr-host.ts';
import { lxcConfig } from './lxc-config.ts';
import { mountsAtStart } from './mounts.ts';
import { type ContainerPaths, containerPaths, hostDevicesHook, LXC_NAME, shimBinary } from './paths.ts';
import type { ContainerPlan } from './plan.ts';
import { processSpec, type ProcessSpec } from './process-spec.ts';
import { failed, hostCannot, invalid } from './refuse.ts';
import { grantedOomScoreAdj } from './resources.ts';
import { encodeShimConfig, parseShimAnswer } from './shim-config.ts';
import { sizeSettings } from './terminal-size.ts';

/**
 * The shim waits longer for a daemon than the daemon for a client, ms: the daemon ends the one client that takes nothing; the shim would
 * end everybody's connection. The daemon looks once a second.
 */
const SHIM_STALL_MARGIN_MS = 5_000;

type InitRecord = { readonly pid: number; readonly startTime: string };

/** Starts a created container. Resolves when init has been executed; when it fails, no process and no cgroup is left. */
export const startContainer = async (host: LcrHost, spec: ContainerSpec): Promise<StartedContainer> => {
  const paths = containerPaths(host.config, spec.id);
  const [plan, limits] = await Promise.all([readPlan(paths), readLimits(paths)]);
  const oom = grantedOomScoreAdj(limits, host.facts);
  if (oom?.clamped)
    host.log.warn(
      { container: spec.id, asked: limits.oomScoreAdj, given: oom.value },
      'oom_score_adj cannot be set that low without CAP_SYS_RESOURCE',
    );
  const [mounts, pidNamespace] = await Promise.all([
    mountsAtStart(plan),
    plan.pidTarget === undefined ? undefined : targetNamespace(host, plan, plan.pidTarget),
  ]);
  const shim = shimBinary(host.config);
  const text = lxcConfig({
    plan,
    limits,
    mounts,
    facts: host.facts,
    paths,
    shim,
    hostDevicesHook: hostDevicesHook(host.config),
    ...(pidNamespace === undefined ? {} : { pidNamespace }),
  });
  // A record of an earlier start would be taken for the end of this one.
  await Promise.all([
    writeFile(paths.lxcConfig, text, { mode: 0o600 }),
    rm(exitRecordPath(host.config.root, spec.id), { force: true }),
    rm(spareRecordPath(host.config.state, spec.id), { force: true }),
    rm(paths.oom, { force: true }),
  ]);
  try {
    const process = processSpec(spec.config, spec.image.run, plan.hostname, plan.home);
    const pid = await runShim(host, shimSettings(host, spec, paths, plan, process), process.argv[0] ?? '', plan.cwd);
    const startTime = await readStartTime(pid);
    if (startTime !== undefined)
      await writeFile(paths.init, JSON.stringify({ pid, startTime } satisfies InitRecord), { mode: 0o600 });
    return { pid };
  } catch (error) {
    await cleanUp(host, spec);
    throw error;
  }
};

const cleanUp = async (host: LcrHost, spec: ContainerSpec): Promise<void> => {
  try {
    // The shim may still be at it: whoever waited for its word on our side is gone, or has been given up.
    await abandonStart(host, spec);
    await removeRuntimeTraces(host, spec);
  } catch (error) {
    host.log.warn({ container: spec.id, err: error }, 'a container that could not be started was not cleaned up');
  }
};

const runShim = async (
  host: LcrHost,
  settings: readonly (readonly [string, string | Buffer])[],
  command: string,
  cwd: string,
): Promise<number> => {
  const options = { input: encodeShimConfig(settings), timeoutMs: START_TIMEOUT_MS, firstLine: true };
  const done = await host.run(shimBinary(host.config), ['run'], options);
  const answer = parseShimAnswer(done.stdout);
  if (answer?.kind === 'ok') return answer.pid;
  const text = answer?.text || done.stderr.trim().split('\n').at(-1) || `berth-shim ended with status ${done.status}`;
  switch (answer?.error) {
    case 'notfound':
      throw commandNotFound(command);
    case 'noexec':
      throw commandNotExecutable(command, text);
    case 'cwd':
      throw new BerthError('invalid-argument', 'WORKING_DIRECTORY', `the working directory "${cwd}" cannot be entered: ${text}`);
    case 'log':
      throw new BerthError('failed-precondition', 'LOG_REFUSED', `the container's log cannot be opened: ${text}`);
    case 'lxc':
      throw lxcFailed(text);
    default:
      throw failed(`the container could not be started: ${text}`);
  }
};

/** LXC's last words, and nothing of its advice how to get more of them. */
const lxcFailed = (text: string): BerthError => {
  const [, file, value] = /Failed to set "([\w.]+)" to "([^"]*)"/.exec(text) ?? [];
  if (file !== undefined) return hostCannot('linux.resources', `the kernel does not take "${value}" for ${file}`);
  return new BerthError(
    'internal',
    'LXC_FAILED',
    `LXC could not start the container: ${text.replace(/; Additional information.*/s, '')}`,
  );
};

const shimSettings = (
  host: LcrHost,
  spec: ContainerSpec,
  paths: ContainerPaths,
  plan: ContainerPlan,
  process: ProcessSpec,
): readonly (readonly [string, string | Buffer])[] => {
  const { config } = host;
  return [
    ['id', spec.id],
    ['secret', spec.secret],
    ['state', paths.state],
    ['record', exitRecordPath(config.root, spec.id)],
    ['lxc-start', config.runtime.lxcStart],
    ['lxc-name', LXC_NAME],
    ['lxc-path', paths.lxcPath],
    ['lxc-config', paths.lxcConfig],
    ['lxc-log', paths.lxcLog],
    ['trampoline', shimBinary(config)],
    ...process.argv.map((argument) => ['arg', argument] as const),
    ...process.env.map((entry) => ['env', entry] as const),
    ['cwd', plan.cwd],
    ...identitySettings(plan, host.facts),
    ...(process.tty ? [['tty', '1'] as const, ...sizeSettings(process.size)] : []),
    ...(spec.config.stdin ? [['stdin', '1'] as const] : []),
    ...(plan.logDirectory === undefined
      ? []
      : ([
          ['log-dir', plan.logDirectory],
          ['log-path', plan.logPath ?? ''],
        ] as const)),
    ['ring', String(config.stdio.ringBytes)],
    ['stall-ms', String(config.stdio.stallMs + SHIM_STALL_MARGIN_MS)],
    ...cgroupDirectories(host.facts.cgroups, plan.cgroups.container).map((directory) => ['cgroup', directory] as const),
    ['oom', paths.oom],
    ...host.shimCgroups.map((directory) => ['shim-cgroup', directory] as const),
  ];
};

/** The pid namespace of another container of the same pod, by its init: it must run. */
const targetNamespace = async (host: LcrHost, plan: ContainerPlan, target: string): Promise<string> => {
  const field = 'linux.security_context.namespace_options.target_id';
  const paths = containerPaths(host.config, target);
  const [init, other] = await Promise.all([
    unless(['ENOENT'], readFile(paths.init, 'utf8')),
    unless(['ENOENT'], readFile(paths.plan, 'utf8')),
  ]);
  if (other === undefined || (JSON.parse(other) as ContainerPlan).cgroups.pod !== plan.cgroups.pod)
    throw invalid(field, `the pod has no container ${target}`);
  const { pid, startTime } = JSON.parse(init ?? '{"pid":0,"startTime":""}') as InitRecord;
  if (pid === 0 || (await readStartTime(pid)) !== startTime)
    throw new BerthError('failed-precondition', 'TARGET_NOT_RUNNING', `${field}: container ${target} is not running`);
  return `/proc/${pid}/ns/pid`;
};
