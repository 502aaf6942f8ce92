/** Reads Prometheus' text format strictly: whatever a scraper might stumble over throws. */

export type ParsedSample = { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number };
export type ParsedFamily = { readonly type: string; readonly help: string; readonly samples: ParsedSample[] };

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const NUMBER = /^(?:[+-]?Inf|NaN|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/;
const TYPES = new Set(['counter', 'gauge', 'histogram']);

/** Families by name. @throws Error naming the line */
export function parseExposition(text: string): Map<string, ParsedFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, ParsedFamily>();
  const lines = text.slice(0, -1).split('\n');
  let help: { readonly name: string; readonly text: string } | undefined;
  let current: { readonly name: string; readonly family: ParsedFamily } | undefined;
  for (const line of lines) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line}`);
    };
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (comment?.[1] === 'HELP') {
      if (!NAME.test(comment[2] ?? '')) fail('not a name');
      help = { name: comment[2] ?? '', text: comment[3] ?? '' };
      current = undefined;
    } else if (comment !== null) {
      const [, , name = '', type = ''] = comment;
      if (help?.name !== name) fail('TYPE without its HELP');
      if (families.has(name)) fail('a family for the second time');
      if (!TYPES.has(type)) fail('not a type');
      if (type === 'counter' && !name.endsWith('_total')) fail('a counter must end in _total');
      current = { name, family: { type, help: help?.text ?? '', samples: [] } };
      families.set(name, current.family);
    } else {
      const sample = parseSample(line) ?? fail('not a sample');
      if (current === undefined) return fail('a sample without a family');
      const { name, family } = current;
      const wanted = family.type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name];
      if (!wanted.includes(sample.name)) fail(`not of the family ${name}`);
      if (family.type !== 'gauge' && sample.value < 0) fail('a counter below 0');
      const key = keyOf(sample);
      if (family.samples.some((other) => keyOf(other) === key)) fail('the same sample for the second time');
      family.samples.push(sample);
    }
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkHistogram(name, family);
  return families;
}

/** One value. @throws Error when it is not there */
export function valueOf(families: Map<string, ParsedFamily>, name: string, labels: Readonly<Record<string, string>> = {}): number {
  const family = families.get(name.replace(/_(?:bucket|sum|count)$/, '')) ?? families.get(name);
  const found = family?.samples.find((sample) => sample.name === name && keyOf({ ...sample, labels }) === keyOf(sample));
  if (found === undefined) throw new Error(`there is no ${name}${JSON.stringify(labels)}`);
  return found.value;
}

/** Labels in one order, without one of them if so wanted. */
const labelsKey = (labels: Readonly<Record<string, string>>, without?: string): string =>
  Object.entries(labels)
    .filter(([label]) => label !== without)
    .map((entry) => JSON.stringify(entry))
    .toSorted((a, b) => a.localeCompare(b))
    .join();

const keyOf = ({ name, labels }: ParsedSample): string => `${name} ${labelsKey(labels)}`;

function parseSample(line: string): ParsedSample | undefined {
  const [, name = '', inner, number = ''] = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (!NAME.test(name) || !NUMBER.test(number)) return undefined;
  const labels: Record<string, string> = {};
  let rest = inner ?? '';
  while (rest !== '') {
    const [whole, label = '', value = ''] = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/.exec(rest) ?? [];
    if (whole === undefined || label in labels) return undefined;
    labels[label] = value.replaceAll(/\\(["\\n])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
    rest = rest.slice(whole.length);
  }
  return { name, labels, value: Number(number.replace('Inf', 'Infinity')) };
}

/** Buckets rise, the last is +Inf and is the count; a sum is there. */
function checkHistogram(name: string, { samples }: ParsedFamily): void {
  const bySeries = Map.groupBy(samples, ({ labels }) => labelsKey(labels, 'le'));
  for (const [series, of] of bySeries) {
    const buckets = of.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels['le']?.replace('Inf', 'Infinity') ?? Number.NaN));
    const rising = (numbers: readonly number[], strictly: boolean): boolean =>
      numbers.every((number, at) => at === 0 || number > (numbers[at - 1] ?? 0) || (!strictly && number === numbers[at - 1]));
    const count = of.find((sample) => sample.name === `${name}_count`)?.value;
    const whole =
      buckets.length > 0 &&
      rising(bounds, true) &&
      bounds.at(-1) === Number.POSITIVE_INFINITY &&
      rising(
        buckets.map(({ value }) => value),
        false,
      ) &&
      buckets.at(-1)?.value === count &&
      of.some((sample) => sample.name === `${name}_sum`);
    if (!whole) throw new Error(`${name} ${series} is no histogram`);
  }
}
