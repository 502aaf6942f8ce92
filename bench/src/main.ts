/** `npm run bench`: starts the runtimes, runs the scenarios, prints what they took, leaves nothing behind. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from './exec.ts';
import { describeMachine, machineLine } from './machine.ts';
import { sweepPods } from './fixtures/pods.ts';
import { HELP, type Options, parseOptions } from './options.ts';
import { startContainerd } from './peer/containerd.ts';
import { fetchPeer } from './peer/packages.ts';
import { document, table } from './report.ts';
import { type Result, runScenario } from './run.ts';
import { startBerth } from './runtimes/berth.ts';
import { otherRuntime } from './runtimes/other.ts';
import type { RuntimeUnderTest } from './runtimes/runtime.ts';
import type { Bench } from './scenario.ts';
import { SCENARIOS } from './scenarios/all.ts';
import { makeWorkspace, type Workspace } from './workspace.ts';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(REPOSITORY, '.cache');
const IMAGE = join(CACHE, 'default-image.tar');
const AGENT_SOURCE = join(REPOSITORY, 'bench/c/agent.c');
const COMPILE = ['-static', '-O2', '-o'];
/** 128 + SIGINT */
const EXIT_INTERRUPTED = 130;

const note = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

/** With musl where it is there: tens of KB instead of hundreds. */
const compileAgent = async (program: string): Promise<void> => {
  const compile = async (compiler: string) => await exec(compiler, [...COMPILE, program, AGENT_SOURCE]);
  await compile('musl-gcc').catch(async () => await compile('cc'));
};

const startRuntimes = async (options: Options, { dir, state }: Workspace, agent: string, stack: AsyncDisposableStack) => {
  const runtimes: RuntimeUnderTest[] = [];
  const add = (runtime: RuntimeUnderTest): void => {
    runtimes.push(stack.use(runtime));
    stack.defer(async () => await sweepPods(runtime));
  };
  if (!options.withoutBerth) {
    const { source, cpuProf: profile } = options;
    const folders = { dir: join(dir, 'b'), state: join(state, 'b') };
    add(await startBerth({ ...folders, repository: REPOSITORY, image: IMAGE, source, profile }));
  }
  if (options.withContainerd) {
    const programs = await fetchPeer(join(CACHE, 'bench-peer'));
    add(await startContainerd({ dir: join(dir, 'c'), state: join(state, 'c'), programs, image: IMAGE, agent }));
  }
  if (options.peer !== undefined) {
    add(await otherRuntime({ name: 'peer', socket: options.peer, image: 'busybox:latest' }));
  }
  return runtimes;
};

/** @returns the exit status: 1 when a scenario failed */
const bench = async (options: Options): Promise<number> => {
  const chosen = SCENARIOS.filter(({ name }) => options.only.length === 0 || options.only.some((word) => name.startsWith(word)));
  if (chosen.length === 0) throw new Error('no scenario of that name; --list shows them');
  await using stack = new AsyncDisposableStack();
  const interrupted = Promise.withResolvers<never>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.reject(new Interrupted()));
  interrupted.promise.catch(() => {});

  const workspace = stack.use(await makeWorkspace());
  const { dir } = workspace;
  const agent = join(dir, 'agent');
  await compileAgent(agent);
  const machine = await describeMachine();
  let folders = 0;
  const context: Bench = { agent, quick: options.quick, note, newFolder: (name) => join(dir, `w${++folders}-${name}`) };
  const runtimes = await startRuntimes(options, workspace, agent, stack);
  console.log([machineLine(machine), ...runtimes.map(({ name, version }) => `${name}: ${version}`)].join('\n'));
  if (options.quick) console.log('a quick run: the numbers show that it works, not how fast');

  const results: Result[] = [];
  for (const scenario of chosen) {
    results.push(await Promise.race([runScenario(context, scenario, runtimes, options.rounds), interrupted.promise]));
  }
  const names = runtimes.map(({ name }) => name);
  console.log(table(results, names).join('\n'));
  if (options.json !== undefined) {
    await writeFile(options.json, `${JSON.stringify(document(machine, runtimes, results), undefined, 2)}\n`);
  }
  return results.some(({ outcomes }) => [...outcomes.values()].some(({ error }) => error !== undefined)) ? 1 : 0;
};

class Interrupted extends Error {}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(HELP);
  else if (options.list) console.log(SCENARIOS.map(({ name, title }) => `${name.padEnd(20)} ${title}`).join('\n'));
  else process.exitCode = await bench(options);
} catch (error) {
  note(error instanceof Interrupted ? 'interrupted' : error instanceof Error ? error.message : String(error));
  process.exitCode = error instanceof Interrupted ? EXIT_INTERRUPTED : 1;
}
// Whatever a failed scenario has left open must not keep the process.
process.exit();
