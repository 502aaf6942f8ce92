/** Runs scenarios in rounds, the runtimes taking turns within each round, so that a change of the machine's mood meets all of them. */
import type { RuntimeUnderTest } from './runtimes/runtime.ts';
import type { Bench, Prepared, Samples, Scenario } from './scenario.ts';

/** All samples of one scenario on one runtime, or why there are none. */
export type Outcome = { readonly samples: Samples; readonly error?: string };
export type Result = { readonly scenario: Scenario; readonly outcomes: ReadonlyMap<string, Outcome> };

/** A round that takes longer has hung. */
const ROUND_MS = 300_000;

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const withLimit = async <T>(work: PromiseLike<T>): Promise<T> => {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => limit.reject(new Error(`not over after ${ROUND_MS / 1000} s`)), ROUND_MS);
  try {
    return await Promise.race([work, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
};

/** One scenario on all runtimes. A failure on one of them is kept, told, and does not stop the others. */
export const runScenario = async (
  bench: Bench,
  scenario: Scenario,
  runtimes: readonly RuntimeUnderTest[],
  rounds: number,
): Promise<Result> => {
  await using stack = new AsyncDisposableStack();
  const errors = new Map<string, string>();
  const gathered = new Map<string, Record<string, number[]>>(runtimes.map(({ name }) => [name, {}]));
  const fail = (name: string, error: unknown): void => {
    bench.note(`${scenario.name}: ${name}: ${message(error)}`);
    errors.set(name, message(error));
  };

  const prepared = new Map<string, Prepared>();
  for (const runtime of runtimes) {
    try {
      const one = await withLimit(scenario.prepare(bench, runtime));
      prepared.set(runtime.name, one);
      stack.defer(async () => await withLimit(one[Symbol.asyncDispose]()).catch((error: unknown) => fail(runtime.name, error)));
    } catch (error) {
      fail(runtime.name, error);
    }
  }
  const { warmUps = 0 } = scenario;
  for (let round = 1 - warmUps; round <= Math.min(rounds, scenario.maxRounds ?? rounds); round++) {
    for (const [name, one] of prepared) {
      if (errors.has(name)) continue;
      bench.note(`${scenario.name}: ${round < 1 ? 'warming up' : `round ${round}`}, ${name}`);
      try {
        const samples = await withLimit(one.round());
        if (round >= 1) add(gathered.get(name) ?? {}, samples);
      } catch (error) {
        fail(name, error);
      }
    }
  }
  await stack.disposeAsync();
  const outcomes = runtimes.map(({ name }): [string, Outcome] => {
    const error = errors.get(name);
    return [name, { samples: gathered.get(name) ?? {}, ...(error === undefined ? {} : { error }) }];
  });
  return { scenario, outcomes: new Map(outcomes) };
};

const add = (to: Record<string, number[]>, samples: Samples): void => {
  for (const [name, values] of Object.entries(samples)) to[name] = [...(to[name] ?? []), ...values];
};
