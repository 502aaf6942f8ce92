// Makes a container in a pod of its own, and takes both away again.
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, realpath, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import type { Container, PodSandbox } from '@berth/cri-api';
import type { Daemon } from '../daemon.ts';
import { CliError, isNotFound, isRpcError } from '../errors.ts';
import { isRotated } from '../logs/log-rotations.ts';
import { LABELS } from './labels.ts';
import { checkName, containerConfig, podConfig, type SpecOptions } from './spec.ts';

/** Where logs go unless told otherwise. */
export const DEFAULT_LOG_DIR = '/var/log/berth';
/** What a container writes may be secret. */
const LOG_DIR_MODE = 0o700;
/** The kernel's own, where no folder can be made; Node's mkdir would try for ever there. */
const NO_FOLDERS = /^\/(?:proc|sys)(?:\/|$)/;

export type MakeOptions = SpecOptions & { readonly logDir: string };

export type Made = { readonly id: string; readonly podId: string; readonly name: string };

/** Makes pod and container; when the container cannot be made, the pod goes again. */
export async function makeContainer(
  daemon: Daemon,
  image: string,
  command: readonly string[],
  stdinOnce: boolean,
  options: MakeOptions,
): Promise<Made> {
  const name = options.name === undefined ? inventName(image) : checkName(options.name);
  const config = containerConfig(name, image, command, stdinOnce, options);
  const logs = resolve(options.logDir);
  if (NO_FOLDERS.test(await landing(logs))) throw new CliError(`no log can be kept in ${options.logDir}; choose another --log-dir`);
  const logDirectory = join(logs, `${name}-${randomBytes(4).toString('hex')}`);
  const pod = podConfig(name, logDirectory, options);
  const { runtime } = daemon.client;
  await mkdir(logDirectory, { recursive: true, mode: LOG_DIR_MODE });
  let podId: string | undefined;
  try {
    ({ podSandboxId: podId } = await runtime.runPodSandbox({ config: pod }));
    const { containerId } = await runtime.createContainer({ podSandboxId: podId, config, sandboxConfig: pod });
    return { id: containerId, podId, name };
  } catch (error) {
    if (podId !== undefined) await removePod(daemon, podId);
    await rmdir(logDirectory).catch(() => {});
    if (isRpcError(error) && error.status === 'ALREADY_EXISTS') {
      throw new CliError(`the name "${name}" is taken; remove its owner with "berth rm ${name}", or choose another with --name`);
    }
    throw error;
  }
}

/** Where a path leads, links followed as far as it is there. */
async function landing(path: string): Promise<string> {
  for (let known = path; ; known = dirname(known)) {
    const real = await realpath(known).catch(() => undefined);
    if (real !== undefined) return join(real, relative(known, path));
    if (known === '/') return path;
  }
}

/** `docker.io/library/busybox:latest` gives `busybox-1a2b3c`. */
function inventName(image: string): string {
  const last = image.replace(/@.*$/, '').split('/').at(-1) ?? '';
  const base = last
    .replace(/:.*$/, '')
    .replaceAll(/[^a-zA-Z0-9-]/g, '-')
    .replace(/^-+/, '')
    .slice(0, 40);
  return `${base === '' ? 'container' : base}-${randomBytes(3).toString('hex')}`;
}

/** Stops and removes a pod with all that is in it. */
export async function removePod({ client }: Daemon, podSandboxId: string): Promise<void> {
  await client.runtime.stopPodSandbox({ podSandboxId });
  await client.runtime.removePodSandbox({ podSandboxId });
}

/** The same, with the logs of those containers in it that the command line has made. */
export async function removePodAndLogs(daemon: Daemon, pod: PodSandbox, containers: readonly Container[]): Promise<void> {
  const own = containers.filter(({ labels }) => labels[LABELS.madeBy] === LABELS.cli);
  const logPaths = await Promise.all(own.map(async ({ id }) => await logPathOf(daemon, id)));
  await removePod(daemon, pod.id);
  for (const logPath of logPaths) if (logPath !== '') await removeLog(logPath);
}

/** Removes a container; what the command line made for it alone, pod and log, goes too. */
export async function removeContainer(daemon: Daemon, container: Pick<Container, 'id' | 'podSandboxId' | 'labels'>): Promise<void> {
  const { runtime } = daemon.client;
  const own = container.labels[LABELS.madeBy] === LABELS.cli;
  const logPath = own ? await logPathOf(daemon, container.id) : '';
  await runtime.removeContainer({ containerId: container.id });
  if (!own) return;
  const { containers } = await runtime.listContainers({ filter: { podSandboxId: container.podSandboxId } });
  if (containers.length > 0) return;
  await removePod(daemon, container.podSandboxId);
  if (logPath !== '') await removeLog(logPath);
}

async function logPathOf({ client }: Daemon, containerId: string): Promise<string> {
  try {
    return (await client.runtime.containerStatus({ containerId })).status?.logPath ?? '';
  } catch (error) {
    if (isNotFound(error)) return '';
    throw error;
  }
}

/** The log, what it was rotated to, and its directory if nothing else is in it. */
async function removeLog(path: string): Promise<void> {
  const directory = dirname(path);
  const name = basename(path);
  try {
    for (const entry of await readdir(directory)) {
      if (entry === name || isRotated(name, entry)) await rm(join(directory, entry));
    }
    await rmdir(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw error;
  }
}
