/** A private containerd as the peer: own folders and socket, host network only, the same image as Berth. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../exec.ts';
import { removeCgroup, removeWhatComes } from '../leftovers.ts';
import { Child } from '../runtimes/child.ts';
import { otherRuntime } from '../runtimes/other.ts';
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { pauseImage } from './pause-image.ts';

const START_MS = 60_000;
const IMAGE = 'docker.io/library/busybox:latest';
/** What stands in the command line of a pod's first process. */
const PAUSE = '/agent pause';
const PAUSE_IMAGE = 'berth.local/pause:bench';
/** Where containerd, its shims and runc put things wherever their own folders are. */
const FIXED_FOLDERS = ['/run/containerd', '/opt/containerd'];
/** The group of all pods that name no other. */
const CGROUP = 'k8s.io';

export type ContainerdOptions = {
  /** An empty folder of its own. */
  readonly dir: string;
  /** Another one, for its state. */
  readonly state: string;
  /** Folder with containerd, its shim, ctr and runc. */
  readonly programs: string;
  /** Archive of the default image. */
  readonly image: string;
  /** The static program that pods begin with. */
  readonly agent: string;
};

/** Starts it, imports the images, waits until it answers. */
export const startContainerd = async ({ dir, state, programs, image, agent }: ContainerdOptions): Promise<RuntimeUnderTest> => {
  await using stack = new AsyncDisposableStack();
  await mkdir(dir, { recursive: true, mode: 0o700 });
  stack.use(removeWhatComes(FIXED_FOLDERS));
  stack.defer(async () => await removeCgroup(CGROUP));
  const [socket, config, pause] = [join(dir, 'containerd.sock'), join(dir, 'config.toml'), join(dir, 'pause.tar')];
  await writeFile(config, configuration(dir, state, socket, join(programs, 'runc')));
  await writeFile(pause, await pauseImage(agent, PAUSE_IMAGE));
  // containerd looks for its shim on the path.
  const path = `PATH=${programs}:${process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin'}`;
  const child = stack.use(
    new Child('/usr/bin/env', [path, join(programs, 'containerd'), '--config', config], join(dir, 'containerd.log')),
  );
  const ctr = async (...args: readonly string[]) => await exec(join(programs, 'ctr'), ['-a', socket, '-n', 'k8s.io', ...args]);
  await child.until(async () => (await ctr('version')).length > 0, START_MS);
  for (const archive of [image, pause]) await ctr('images', 'import', '--local', archive);
  const runtime = stack.use(await otherRuntime({ name: 'containerd', socket, image: IMAGE, pause: PAUSE }));
  const runc = (await exec(join(programs, 'runc'), ['--version'])).split('\n')[0]?.replace('version ', '') ?? 'runc';
  const owned = stack.move();
  return {
    ...runtime,
    version: `${runtime.version}, ${runc}`,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
};

/** Everything not said here is containerd's default. */
const configuration = (dir: string, state: string, socket: string, runc: string): string => `version = 3
root = '${join(dir, 'root')}'
state = '${state}'
disabled_plugins = ['io.containerd.nri.v1.nri']
[grpc]
  address = '${socket}'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '${PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  # Where root may not lower an oom score, containerd would refuse to make a pod.
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  conf_dir = '${join(dir, 'cni')}'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '${runc}'
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = '127.0.0.1'
  stream_server_port = '0'
`;
