// From the options of `run` and `create` to the messages that CRI wants.
import { resolve } from 'node:path';
import type { BerthClient } from '@berth/client';
import { CliError } from '../errors.ts';
import { windowSize } from '../terminal/window.ts';
import { LABELS, TERMINAL_SIZE_ANNOTATION } from './labels.ts';

/** Options that `run` and `create` share. */
export type SpecOptions = {
  readonly name?: string;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly volume?: readonly string[];
  readonly net?: 'host' | 'none';
  readonly entrypoint?: string;
  readonly hostname?: string;
  readonly privileged?: boolean;
  readonly readOnly?: boolean;
};

// CRI's enums by number: their module is not loaded for the sake of five names.
const NAMESPACE = { pod: 0, container: 1, node: 2 } as const;
const PROPAGATION: ReadonlyMap<string, 0 | 1 | 2> = new Map([
  ['rprivate', 0],
  ['rslave', 1],
  ['rshared', 2],
]);
/** What kubelet asks for: parts of /proc and /sys that tell of the host or change it. */
const MASKED_PATHS = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];
/** A DNS label, as it becomes the host name too. */
const NAME = /^[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?$/;
/** One namespace for all that the command line makes: the daemon then refuses a second pod of the same name, atomically. */
const POD_NAMESPACE = 'berth';

type Runtime = BerthClient['runtime'];
type PodConfig = NonNullable<NonNullable<Parameters<Runtime['runPodSandbox']>[0]>['config']>;
type Config = NonNullable<NonNullable<Parameters<Runtime['createContainer']>[0]>['config']>;

/** @throws CliError when it cannot be a name. */
export function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new CliError(`"${name}" cannot be a name: letters, digits, "-", "_" and "." only, 63 at most, no mark at either end`);
}

/** The pod of a container that has one of its own. */
export function podConfig(name: string, logDirectory: string, options: SpecOptions): PodConfig {
  const host = options.net === 'host';
  const hostname = options.hostname ?? (host ? '' : name.replaceAll(/[_.]/g, '-'));
  return {
    metadata: { name, uid: name, namespace: POD_NAMESPACE, attempt: 0 },
    hostname,
    logDirectory,
    labels: { [LABELS.madeBy]: LABELS.cli },
    linux: {
      securityContext: {
        privileged: options.privileged ?? false,
        namespaceOptions: { network: host ? NAMESPACE.node : NAMESPACE.pod, pid: NAMESPACE.container, ipc: NAMESPACE.pod },
      },
    },
  };
}

/** The container. `stdinOnce`: the end of the first client's input is the end of the container's. */
export function containerConfig(
  name: string,
  image: string,
  command: readonly string[],
  stdinOnce: boolean,
  options: SpecOptions,
): Config {
  const { privileged = false } = options;
  return {
    metadata: { name, attempt: 0 },
    image: { image, userSpecifiedImage: image },
    command: options.entrypoint === undefined ? [] : [options.entrypoint],
    args: [...command],
    workingDir: options.workdir ?? '',
    envs: (options.env ?? []).flatMap(parseEnv),
    mounts: (options.volume ?? []).map(parseVolume),
    labels: { [LABELS.madeBy]: LABELS.cli },
    annotations: options.tty === true ? firstSize() : {},
    logPath: `${name}.log`,
    stdin: options.interactive ?? false,
    stdinOnce,
    tty: options.tty ?? false,
    linux: {
      securityContext: {
        privileged,
        readonlyRootfs: options.readOnly ?? false,
        namespaceOptions: {
          network: options.net === 'host' ? NAMESPACE.node : NAMESPACE.pod,
          pid: NAMESPACE.container,
          ipc: NAMESPACE.pod,
        },
        maskedPaths: privileged ? [] : MASKED_PATHS,
        readonlyPaths: privileged ? [] : READONLY_PATHS,
        ...parseUser(options.user),
        // Absent means unconfined in CRI; privileged containers are.
        ...(privileged ? {} : { seccomp: { profileType: 0, localhostRef: '' } }),
      },
    },
  };
}

/** A program may ask its terminal's size before anybody is attached: it is that of the user's, if there is one. */
function firstSize(): Record<string, string> {
  const size = windowSize();
  return size === undefined ? {} : { [TERMINAL_SIZE_ANNOTATION]: `${size.columns}x${size.rows}` };
}

/** `K=V`, or `K` for the value it has here; nothing when it has none. */
export function parseEnv(text: string): { key: string; value: Uint8Array }[] {
  const equals = text.indexOf('=');
  const key = equals < 0 ? text : text.slice(0, equals);
  if (key === '') throw new CliError(`-e "${text}": give KEY=VALUE, or KEY to pass on the value it has here`);
  // Every object has a `constructor`; what is no variable is not passed on.
  const here = Object.hasOwn(process.env, key) ? process.env[key] : undefined;
  const value = equals < 0 ? here : text.slice(equals + 1);
  return value === undefined ? [] : [{ key, value: Buffer.from(value) }];
}

/** `SRC:DST[:ro,rshared]` */
export function parseVolume(text: string): { hostPath: string; containerPath: string; readonly: boolean; propagation: 0 | 1 | 2 } {
  const [source = '', target = '', options = '', ...more] = text.split(':');
  if (source === '' || !target.startsWith('/') || more.length > 0) {
    throw new CliError(`-v "${text}": give SRC:DST[:ro], DST being an absolute path`);
  }
  if (!source.includes('/') && source !== '.' && source !== '..') {
    throw new CliError(`-v "${text}": there are no named volumes; give a path, for example ./${source}:${target}`);
  }
  let readonly = false;
  let propagation: 0 | 1 | 2 = 0;
  for (const option of options === '' ? [] : options.split(',')) {
    const found = PROPAGATION.get(option);
    if (found !== undefined) propagation = found;
    else if (option === 'ro') readonly = true;
    else if (option !== 'rw') throw new CliError(`-v "${text}": "${option}" is none of ro, rw, rprivate, rslave, rshared`);
  }
  return { hostPath: resolve(source), containerPath: target, readonly, propagation };
}

type UserPart = { runAsUser?: { value: bigint }; runAsUsername?: string; runAsGroup?: { value: bigint } };

/** `NAME`, `UID`, `NAME:GID`, `UID:GID` */
export function parseUser(text: string | undefined): UserPart {
  if (text === undefined) return {};
  const [user = '', group, ...more] = text.split(':');
  if (user === '' || more.length > 0 || (group !== undefined && !/^\d{1,10}$/.test(group))) {
    throw new CliError(`-u "${text}": give NAME or UID, and after a colon a numeric GID`);
  }
  return {
    ...(/^\d{1,10}$/.test(user) ? { runAsUser: { value: BigInt(user) } } : { runAsUsername: user }),
    ...(group === undefined ? {} : { runAsGroup: { value: BigInt(group) } }),
  };
}
