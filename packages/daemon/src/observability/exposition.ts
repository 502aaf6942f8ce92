/** Writes metrics as Prometheus reads them: text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). */
import type { Distribution, Family, Labels } from './metric.ts';

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** All families, one after the other; ends with a newline. */
export function exposition(families: readonly Family[]): string {
  return families.map(familyText).join('');
}

function familyText(family: Family): string {
  const { name, help, type } = family;
  const head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
  const lines =
    type === 'histogram'
      ? family.series.map(({ labels, distribution }) => histogramText(name, labels ?? {}, distribution))
      : family.samples.map(({ labels, value }) => line(name, labels ?? {}, value));
  return head + lines.join('');
}

function histogramText(name: string, labels: Labels, { bounds, counts, sum }: Distribution): string {
  let below = 0;
  const buckets = counts.map((count, at) => {
    below += count;
    const bound = bounds[at];
    return line(`${name}_bucket`, { ...labels, le: bound === undefined ? '+Inf' : String(bound) }, below);
  });
  return buckets.join('') + line(`${name}_sum`, labels, sum) + line(`${name}_count`, labels, below);
}

function line(name: string, labels: Labels, value: number): string {
  const inner = Object.entries(labels).map(([label, text]) => `${label}="${escapeValue(text)}"`);
  return `${name}${inner.length === 0 ? '' : `{${inner.join(',')}}`} ${numberText(value)}\n`;
}

const numberText = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
const escapeValue = (text: string): string => escapeHelp(text).replaceAll('"', '\\"');
