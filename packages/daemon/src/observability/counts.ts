/** Counters and histograms by label values: what rooms keep of sessions and calls. Not for the data path: that adds to plain numbers. */
import type { Distribution, Labels, Sample } from './metric.ts';

/**
 * Label sets that one metric may have. All sets come from fixed lists, the longest being services, methods and codes that are really used;
 * this is the backstop that keeps a mistake from filling memory: what goes beyond it is counted under `other`.
 */
const MAX_LABEL_SETS = 1_000;
const OTHER = 'other';

class ByLabels<T> {
  readonly #make: () => T;
  readonly #sets = new Map<string, { readonly labels: Labels; readonly kept: T }>();

  constructor(make: () => T) {
    this.#make = make;
  }

  get(labels: Labels): T {
    const key = Object.values(labels).join('\n');
    const found = this.#sets.get(key);
    if (found !== undefined) return found.kept;
    if (this.#sets.size >= MAX_LABEL_SETS && !Object.values(labels).every((value) => value === OTHER))
      return this.get(Object.fromEntries(Object.keys(labels).map((name) => [name, OTHER])));
    const kept = this.#make();
    this.#sets.set(key, { labels, kept });
    return kept;
  }

  entries(): IteratorObject<{ readonly labels: Labels; readonly kept: T }> {
    return this.#sets.values();
  }
}

/** Numbers by label values. The labels of one object always have the same names in the same order. */
export class Counts {
  readonly #sets = new ByLabels(() => ({ value: 0 }));

  add(labels: Labels, by = 1): void {
    this.#sets.get(labels).value += by;
  }

  samples(): Sample[] {
    return [...this.#sets.entries()].map(({ labels, kept }) => ({ labels, value: kept.value }));
  }
}

/** Distributions by label values, all with the same bounds. */
export class Histograms {
  readonly #bounds: readonly number[];
  readonly #sets: ByLabels<{ readonly counts: number[]; sum: number }>;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#sets = new ByLabels(() => ({ counts: Array.from({ length: bounds.length + 1 }, () => 0), sum: 0 }));
  }

  observe(labels: Labels, value: number): void {
    const kept = this.#sets.get(labels);
    const at = this.#bounds.findIndex((bound) => value <= bound);
    const bucket = at < 0 ? this.#bounds.length : at;
    kept.counts[bucket] = (kept.counts[bucket] ?? 0) + 1;
    kept.sum += value;
  }

  series(): { readonly labels: Labels; readonly distribution: Distribution }[] {
    return [...this.#sets.entries()].map(({ labels, kept }) => ({
      labels,
      distribution: { bounds: this.#bounds, counts: [...kept.counts], sum: kept.sum },
    }));
  }
}
