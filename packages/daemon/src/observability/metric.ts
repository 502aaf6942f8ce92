/** What a metric is here: plain numbers that the rooms keep, named and labelled only when somebody asks for them. */

/** Label values come from fixed sets in the code, never from ids, names, addresses or anything that a client sends. */
export type Labels = Readonly<Record<string, string>>;

export type Sample = { readonly labels?: Labels; readonly value: number };

/** The bounds are upper ends, inclusive and rising; `counts` has one more, for what is above the last. Not cumulative. */
export type Distribution = { readonly bounds: readonly number[]; readonly counts: readonly number[]; readonly sum: number };

/** One metric with all its label sets. Counters end in `_total`; units are seconds and bytes. */
export type Family = { readonly name: string; readonly help: string } & (
  | { readonly type: 'counter' | 'gauge'; readonly samples: readonly Sample[] }
  | { readonly type: 'histogram'; readonly series: readonly { readonly labels?: Labels; readonly distribution: Distribution }[] }
);

/** A room's metrics as they are now. */
export type MetricSource = () => readonly Family[] | Promise<readonly Family[]>;

export const counter = (name: string, help: string, samples: number | readonly Sample[]): Family => ({
  name,
  help,
  type: 'counter',
  samples: typeof samples === 'number' ? [{ value: samples }] : samples,
});

export const gauge = (name: string, help: string, samples: number | readonly Sample[]): Family => ({
  name,
  help,
  type: 'gauge',
  samples: typeof samples === 'number' ? [{ value: samples }] : samples,
});
