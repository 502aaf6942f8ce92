/** What a scenario is: how it is prepared on a runtime, what one round of it gives, and how that becomes the rows of the table. */
import type { RuntimeUnderTest } from './runtimes/runtime.ts';

/** What scenarios get from the benchmark. */
export type Bench = {
  /** Path of the static program that runs in the containers. */
  readonly agent: string;
  /** Everything is an eighth of its size: to see whether it works, not how fast. */
  readonly quick: boolean;
  /** A folder that does not exist yet, below the benchmark's own. */
  newFolder(name: string): string;
  /** Says what is going on, on stderr. */
  note(text: string): void;
};

/** Samples by name; those of all rounds are put together. */
export type Samples = Readonly<Record<string, readonly number[]>>;

/** A scenario prepared on one runtime. */
export type Prepared = AsyncDisposable & { round(): Promise<Samples> };

/** One row of the table. */
export type Metric = {
  /** Which samples. */
  readonly of: string;
  readonly title: string;
  readonly unit: 'ms' | 'MB/s' | 'MiB' | 'KiB' | 's' | '%' | 'MB' | 'count';
  /** 0.5 is the median, and what is meant when nothing is said. */
  readonly quantile?: number;
  /** What Berth must reach, as a bound on its value divided by the peer's. */
  readonly atMost?: number;
  readonly atLeast?: number;
  /** A row behind this one: the value divided by that of another scenario, and the least that Berth must reach there. */
  readonly partOf?: PartOf;
};

export type PartOf = { readonly scenario: string; readonly of: string; readonly title: string; readonly atLeast: number };

export type Scenario = {
  readonly name: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  /** At most this many rounds, where a round is long or repeats itself within. */
  readonly maxRounds?: number;
  /**
   * Rounds before the first one that counts. Runtimes run for weeks, and what a language's runtime does in a program's first second (Node
   * translates it while it runs) is not what their users meet. Absent: none.
   */
  readonly warmUps?: number;
  prepare(bench: Bench, runtime: RuntimeUnderTest): Promise<Prepared>;
};

/** An eighth in a quick run. */
export const scaled = (bench: Bench, amount: number): number => (bench.quick ? Math.max(1, Math.ceil(amount / 8)) : amount);
