/** Pods with one container each: how long until they run, one after the other and all at once, and what memory they cost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startContainer, startPod } from '../fixtures/pods.ts';
import { pss } from '../runtimes/processes.ts';
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { MIB, now } from '../units.ts';

const SERIAL = 10;
const AT_ONCE = 50;
const PODS = [1, 10, 100] as const;
/** Memory is looked at when the start is over. */
const SETTLE_MS = 2_000;
const COMMAND = ['sleep', '100000'];

/** A pod and a container that runs; both end with the stack. */
const startOne = async (runtime: RuntimeUnderTest, stack: AsyncDisposableStack): Promise<void> => {
  const pod = stack.use(await startPod(runtime));
  await startContainer(runtime, pod, { command: COMMAND });
};

/** Pods are removed side by side: in order, a hundred of them would take longer than what is measured. */
const startMany = async (runtime: RuntimeUnderTest, count: number): Promise<AsyncDisposable> => {
  const stacks = Array.from({ length: count }, () => new AsyncDisposableStack());
  const release = async () => void (await Promise.allSettled(stacks.map((stack) => stack.disposeAsync())));
  const started = await Promise.allSettled(stacks.map((stack) => startOne(runtime, stack)));
  const failed = started.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await release();
    throw failed.reason;
  }
  return { [Symbol.asyncDispose]: release };
};

const nothingToDispose = { [Symbol.asyncDispose]: async () => {} };

const start: Scenario = {
  name: 'start',
  title: 'pod and container until it runs, host network',
  metrics: [
    { of: 'serial', title: 'one after the other p50', unit: 'ms', atMost: 1 / 3 },
    { of: 'remove', title: 'stopping and removing both p50', unit: 'ms' },
  ],
  prepare: async (bench, runtime) => ({
    ...nothingToDispose,
    async round() {
      const [serial, remove]: [number[], number[]] = [[], []];
      for (let i = 0; i < scaled(bench, SERIAL); i++) {
        await using stack = new AsyncDisposableStack();
        const begin = now();
        await startOne(runtime, stack);
        const running = now();
        await stack.disposeAsync();
        serial.push(running - begin);
        remove.push(now() - running);
      }
      return { serial, remove };
    },
  }),
};

const startAtOnce: Scenario = {
  name: `start-${AT_ONCE}`,
  title: `${AT_ONCE} pods with a container each, started at once`,
  metrics: [{ of: 'all', title: 'all running after', unit: 's', atMost: 0.25 }],
  maxRounds: 3,
  prepare: async (bench, runtime) => ({
    ...nothingToDispose,
    async round() {
      const begin = now();
      const pods = await startMany(runtime, scaled(bench, AT_ONCE));
      const all = (now() - begin) / 1000;
      await pods[Symbol.asyncDispose]();
      return { all: [all] };
    },
  }),
};

/** Twice: what daemons take that have just been started, and what those keep that have worked hard. */
const memory = (name: string, when: string): Scenario => ({
  name,
  title: `memory outside the containers (PSS): daemon, shims, monitors, first processes of pods; ${when}`,
  metrics: [
    { of: 'daemon', title: 'daemon before the first pod', unit: 'MiB' },
    ...PODS.map((count) => ({
      of: `pods${count}`,
      title: `all of ${count} pod${count > 1 ? 's' : ''}`,
      unit: 'MiB' as const,
      ...(count > 1 ? { atMost: 1 } : {}),
    })),
    { of: 'perPod', title: 'per pod, from 10 to 100', unit: 'MiB', atMost: 0.1 },
  ],
  maxRounds: 1,
  prepare: async (bench, runtime) => ({
    ...nothingToDispose,
    async round() {
      const counts = bench.quick ? PODS.slice(0, 2) : PODS;
      await using stack = new AsyncDisposableStack();
      const samples: Record<string, readonly number[]> = { daemon: [(await pss([runtime.daemon])) / MIB] };
      let [running, helpersBefore] = [0, 0];
      for (const count of counts) {
        stack.use(await startMany(runtime, count - running));
        await sleep(SETTLE_MS);
        const helpers = (await pss(await runtime.helpers())) / MIB;
        const all = (await pss([runtime.daemon])) / MIB + helpers;
        samples[`pods${count}`] = [all];
        if (count > 1) samples['perPod'] = [(helpers - helpersBefore) / (count - running)];
        [running, helpersBefore] = [count, helpers];
      }
      return samples;
    },
  }),
});

export const memoryAtFirst: Scenario = memory('memory', 'fresh daemons');
export const memoryAtLast: Scenario = memory('memory-after', 'after everything above');
export const starting: readonly Scenario[] = [start, startAtOnce];
