/** The table, and the same for programs. */
import type { Machine } from './machine.ts';
import type { Outcome, Result } from './run.ts';
import type { RuntimeUnderTest } from './runtimes/runtime.ts';
import type { Metric } from './scenario.ts';
import { median, quantile } from './stats.ts';

const MEDIAN = 0.5;
/** Three digits say all that a benchmark can. */
const DIGITS = 3;

export const metricValue = (metric: Metric, outcome: Outcome | undefined): number =>
  quantile(outcome?.samples[metric.of] ?? [], metric.quantile ?? MEDIAN);

const round = (value: number): string => {
  if (Number.isNaN(value)) return '-';
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(DIGITS)));
};

/** Berth's value divided by the peer's, the bound that stands for it, and whether it holds. */
const judge = (metric: Metric, berth: number, peer: number): { ratio: string; target: string; holds: boolean | undefined } => {
  const ratio = berth / peer;
  const { atMost, atLeast } = metric;
  const target = atMost !== undefined ? `<= ${round(atMost)}` : atLeast !== undefined ? `>= ${round(atLeast)}` : '';
  const known = target !== '' && Number.isFinite(ratio);
  const holds = known ? (atMost !== undefined ? ratio <= atMost : ratio >= (atLeast ?? 0)) : undefined;
  return { ratio: Number.isFinite(ratio) ? round(ratio) : '-', target, holds };
};

type Row = readonly string[];

/** The row of `partOf`; none where the other scenario was not measured. */
const partRow = (
  metric: Metric,
  outcomes: Result['outcomes'],
  names: readonly string[],
  results: readonly Result[],
): readonly Row[] => {
  const { partOf } = metric;
  const other = results.find(({ scenario }) => scenario.name === partOf?.scenario);
  const whole = other?.scenario.metrics.find(({ of }) => of === partOf?.of);
  if (partOf === undefined || other === undefined || whole === undefined) return [];
  const values = names.map((name) => metricValue(metric, outcomes.get(name)) / metricValue(whole, other.outcomes.get(name)));
  const cells = [`    ${partOf.title}`, ...values.map(round)];
  const [berth = Number.NaN] = values;
  const holds = Number.isNaN(berth) ? '' : berth >= partOf.atLeast ? 'yes' : 'NO';
  return [names.length > 1 ? [...cells, '', `>= ${round(partOf.atLeast)}`, holds] : cells];
};

const rowsOf = ({ scenario, outcomes }: Result, names: readonly string[], results: readonly Result[]): readonly Row[] => [
  [scenario.title],
  ...scenario.metrics.flatMap((metric) => {
    const values = names.map((name) => metricValue(metric, outcomes.get(name)));
    const cells = [`  ${metric.title}${metric.unit === 'count' ? '' : `, ${metric.unit}`}`, ...values.map(round)];
    const [berth = Number.NaN, peer] = values;
    const part = partRow(metric, outcomes, names, results);
    if (peer === undefined) return [cells, ...part];
    const { ratio, target, holds } = judge(metric, berth, peer);
    return [[...cells, ratio, target, holds === undefined ? '' : holds ? 'yes' : 'NO'], ...part];
  }),
  ...[...outcomes].flatMap(([name, { error }]) => (error === undefined ? [] : [[`  ${name} failed: ${error}`]])),
];

/** Lines of the table; a line of one cell is a heading and takes no part in the widths. */
export const table = (results: readonly Result[], names: readonly string[]): readonly string[] => {
  const head = ['', ...names, ...(names.length > 1 ? ['ratio', 'target', 'holds'] : [])];
  const rows = [head, ...results.flatMap((result) => rowsOf(result, names, results))];
  const widths = head.map((_, column) => Math.max(...rows.filter((row) => row.length > 1).map((row) => row[column]?.length ?? 0)));
  const line = (row: Row): string =>
    row.length === 1
      ? (row[0] ?? '')
      : row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ');
  return rows.map((row) => line(row).trimEnd());
};

/** Everything, medians and samples, as it goes into the JSON file. */
export const document = (machine: Machine, runtimes: readonly RuntimeUnderTest[], results: readonly Result[]): object => ({
  at: new Date().toISOString(),
  machine,
  versions: Object.fromEntries(runtimes.map(({ name, version }) => [name, version])),
  scenarios: results.map(({ scenario, outcomes }) => ({
    name: scenario.name,
    title: scenario.title,
    metrics: scenario.metrics.map((metric) => ({
      ...metric,
      values: Object.fromEntries([...outcomes].map(([name, outcome]) => [name, metricValue(metric, outcome)])),
    })),
    outcomes: Object.fromEntries(
      [...outcomes].map(([name, { samples, error }]) => [
        name,
        { error, samples, medians: Object.fromEntries(Object.entries(samples).map(([of, values]) => [of, median(values)])) },
      ]),
    ),
  })),
});
