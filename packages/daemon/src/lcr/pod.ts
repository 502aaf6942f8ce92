/** Makes and takes down pods: namespaces pinned as files, shared memory, the files that containers share. */
import { mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import type { PodResources, PodSpec } from '../runtime/runtime.ts';
import { isRunning, readStartTime } from '../util/boot.ts';
import { unless } from '../util/errno.ts';
import { allSettled } from '../util/wait.ts';
import { removeCgroup } from './cgroup-tree.ts';
import { containerCgroups } from './cgroups.ts';
import type { LcrHost } from './lcr-host.ts';
import { isMountPoint, unmount } from './mount-points.ts';
import { podNamespaces } from './namespaces.ts';
import { type PodPaths, podPaths, shimBinary } from './paths.ts';
import { type CheckedPod, checkPod } from './pod-check.ts';
import { podFiles } from './pod-files.ts';
import { failed, safeId } from './refuse.ts';
import { must } from './spawn.ts';

type Pause = { readonly pid: number; readonly startTime: string };

/** Makes a pod. Doing it again for the same id changes nothing; when it fails, nothing is left. */
export const createPod = async (host: LcrHost, pod: PodSpec): Promise<PodResources> => {
  safeId('pod id', pod.id);
  const checked = checkPod(pod.config, pod.id, host.facts);
  const paths = podPaths(host.config, pod.id);
  const resources: PodResources = checked.namespaces.network === 'pod' ? { netns: paths.net } : {};
  // The hostname file is written last: what has it is complete.
  if (await unless(['ENOENT'], stat(paths.hostname))) return resources;
  try {
    await mkdir(paths.dir, { recursive: true, mode: 0o700 });
    const [files] = await allSettled([
      podFiles(pod.config, checked.hostname, checked.namespaces.network),
      makeNamespaces(host, paths, checked),
    ]);
    await Promise.all([
      writeFile(paths.hosts, files.hosts, { mode: 0o644 }),
      writeFile(paths.resolvConf, files.resolvConf, { mode: 0o644 }),
    ]);
    await writeFile(paths.hostname, files.hostname, { mode: 0o644 });
    return resources;
  } catch (error) {
    await removePod(host, pod).catch((cause: unknown) =>
      host.log.warn({ pod: pod.id, err: cause }, 'a pod that could not be made was not cleaned up'),
    );
    throw error;
  }
};

const makeNamespaces = async (host: LcrHost, paths: PodPaths, { namespaces, hostname, sysctls }: CheckedPod): Promise<void> => {
  const shared = namespaces.pid === 'pod';
  // What a daemon that died in between has left: the shim would pin over it.
  await unmount([paths.shm, paths.net, paths.ipc, paths.uts, paths.pid], host.run);
  const args = [
    shared ? 'pause' : 'pod',
    '--dir',
    paths.dir,
    ...(namespaces.network === 'pod' ? ['--net', '--lo'] : []),
    ...(namespaces.ipc === 'pod' ? ['--ipc', '--shm'] : []),
    '--uts',
    '--hostname',
    hostname,
    // The pause process outlives the daemon like a shim, so it leaves the daemon's cgroup like one.
    ...(shared ? host.shimCgroups.flatMap((directory) => ['--cgroup', directory]) : []),
    ...sysctls.flatMap((sysctl) => ['--sysctl', sysctl]),
  ];
  // A pause process stays; its first line is its pid.
  const done = await must(shimBinary(host.config), args, { firstLine: shared }, host.run);
  if (!shared) return;
  const pid = Number(/\d+/.exec(done.stdout)?.[0]);
  const startTime = pid > 1 ? await readStartTime(pid) : undefined;
  if (startTime === undefined) throw failed(`the pod's pause process is not there${done.stderr ? `: ${done.stderr.trim()}` : ''}`);
  const pause: Pause = { pid, startTime };
  await writeFile(paths.pause, JSON.stringify(pause));
};

/** Every pod has pinned its uts namespace; one with a shared pid namespace also has that namespace's first process. */
export const podStands = async (host: LcrHost, pod: PodSpec): Promise<boolean> =>
  (await isMountPoint(podPaths(host.config, safeId('pod id', pod.id)).uts)) && (await podRuns(host, pod));

/** False when the first process of a shared pid namespace has ended: the kernel has ended all others with it, and lets none in any more. */
export const podRuns = async (host: LcrHost, pod: PodSpec): Promise<boolean> => {
  if (podNamespaces(pod.config).pid !== 'pod') return true;
  const pause = await readPause(podPaths(host.config, safeId('pod id', pod.id)));
  return pause !== undefined && (await isPause(pause));
};

/** Takes a pod down, whatever is there of it. */
export const removePod = async (host: LcrHost, pod: PodSpec): Promise<void> => {
  safeId('pod id', pod.id);
  const paths = podPaths(host.config, pod.id);
  if (await unless(['ENOENT'], stat(paths.dir))) {
    await killPause(paths);
    await unmount([paths.shm, paths.net, paths.ipc, paths.uts, paths.pid], host.run);
    await rm(paths.dir, { recursive: true, force: true });
  }
  const parent = pod.config.linux?.cgroupParent || host.config.runtime.cgroupParent;
  await removeCgroup(host.facts.cgroups, containerCgroups(parent, host.config.runtime.cgroupParent, pod.id, '').pod);
};

const killPause = async (paths: PodPaths): Promise<void> => {
  for (const pid of await findPause(paths)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
};

const readPause = async (paths: PodPaths): Promise<Pause | undefined> => {
  const text = await unless(['ENOENT'], readFile(paths.pause, 'utf8'));
  return text === undefined ? undefined : (JSON.parse(text) as Pause);
};

const isPause = async ({ pid, startTime }: Pause): Promise<boolean> => await isRunning(pid, startTime);

const findPause = async (paths: PodPaths): Promise<readonly number[]> => {
  const pause = await readPause(paths);
  if (pause !== undefined) return (await isPause(pause)) ? [pause.pid] : [];
  // The daemon died between making the process and writing its pid: whoever is in the pinned namespace belongs to the pod.
  if (!(await isMountPoint(paths.pid))) return [];
  const { ino } = await stat(paths.pid, { bigint: true });
  const members: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const namespace = await unless(['ENOENT', 'ESRCH', 'EACCES'], stat(`/proc/${entry}/ns/pid`, { bigint: true }));
    if (namespace?.ino === ino) members.push(Number(entry));
  }
  return members;
};
