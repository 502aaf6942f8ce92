/** A private Berth daemon: own folders, own cgroup, any free port, and an own copy of Node. */
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from '@berth/client';
import { launcherOptions } from '../../../packages/daemon/src/testing/launcher-options.ts';
import { removeCgroup } from '../leftovers.ts';
import { Child } from './child.ts';
import { outsideContainers, processesNamed } from './processes.ts';
import type { RuntimeUnderTest } from './runtime.ts';

const START_MS = 30_000;
const IMAGE = 'busybox:latest';

export type BerthOptions = {
  /** An empty folder of its own. */
  readonly dir: string;
  /** Another one, for its state. */
  readonly state: string;
  /** Absolute path of the repository. */
  readonly repository: string;
  /** Archive of the default image. */
  readonly image: string;
  /** Run the sources instead of the build, or make a processor profile: for work on Berth itself. */
  readonly source?: boolean;
  readonly profile?: string | undefined;
};

/** Starts it and waits until it answers. */
export const startBerth = async ({
  dir,
  state,
  repository,
  image,
  source = false,
  profile,
}: BerthOptions): Promise<RuntimeUnderTest> => {
  await using stack = new AsyncDisposableStack();
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const cgroup = `berth-bench-${process.pid}`;
  stack.defer(async () => await removeCgroup(cgroup));
  const [config, node] = [join(dir, 'berthd.toml'), join(dir, 'node')];
  // Nothing else may share the program's pages, or the daemon's share of them would look smaller than it is.
  await copyFile(process.execPath, node);
  await writeFile(config, `[runtime]\ncgroup_parent = "${cgroup}"\n`);
  const program = source ? ['--conditions=source', 'packages/daemon/src/main.ts'] : ['packages/daemon/dist/main.js'];
  const folders = ['--config', config, '--root', join(dir, 'root'), '--state', state, '--log-level', 'warn'];
  const profiling = profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profile];
  const child = stack.use(
    new Child(
      node,
      [
        ...launcherOptions(),
        ...profiling,
        ...program.map((word) => (word.startsWith('-') ? word : join(repository, word))),
        ...folders,
        '--streaming-address',
        '127.0.0.1:0',
        '--default-image',
        image,
      ],
      join(dir, 'berthd.log'),
    ),
  );
  const client = stack.use(connect({ socket: join(state, 'berth.sock') }));
  await child.until(async () => (await client.image.imageStatus({ image: { image: IMAGE } })).image !== undefined, START_MS);
  const { runtimeName, runtimeVersion } = await client.runtime.version();
  const owned = stack.move();
  return {
    name: 'berth',
    version: `${runtimeName} ${runtimeVersion}`,
    client,
    image: IMAGE,
    daemon: child.pid,
    helpers: async () => await helpersBelow(state, child.pid),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
};

/** Shims say their number in a file of their container's folder; LXC's monitors name that folder, which lies below the state. */
const helpersBelow = async (state: string, daemon: number): Promise<readonly number[]> => {
  const read = async (name: string) => Number(await readFile(join(state, name, 'shim.pid'), 'utf8').catch(() => '0'));
  const shims = await Promise.all((await readdir(state)).map(read));
  const monitors = await processesNamed((line) => line.includes(state));
  const found = [...new Set([...shims, ...monitors])].filter((pid) => pid !== daemon && pid > 0);
  const outside = await Promise.all(found.map(async (pid) => ((await outsideContainers(pid)) ? [pid] : [])));
  return outside.flat();
};
