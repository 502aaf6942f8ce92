/** The benchmark's command line. */
import { parseArgs } from 'node:util';

export type Options = {
  /** Scenario names or their beginnings; empty: all. */
  readonly only: readonly string[];
  readonly rounds: number;
  readonly quick: boolean;
  readonly list: boolean;
  readonly help: boolean;
  /** Socket of another CRI runtime. */
  readonly peer: string | undefined;
  readonly withContainerd: boolean;
  readonly withoutBerth: boolean;
  readonly json: string | undefined;
  readonly source: boolean;
  readonly cpuProf: string | undefined;
};

export const HELP = `Usage: npm run bench -- [options]

Measures Berth over real containers, as root, and prints a table.

  --with-containerd   fetch containerd and runc (Debian packages, unpacked beside the system), measure them in turn with Berth
  --peer SOCKET       the same with a CRI runtime that already listens there and has the image busybox:latest
  --only NAME,...     these scenarios, or those whose names begin so
  --rounds N          rounds of each scenario, medians are over them (default 5)
  --quick             one round of an eighth of the size: shows that it works, not how fast
  --json FILE         every sample, for programs
  --list              the scenarios
  --without-berth     the peer alone
  --source            run Berth's sources instead of its build
  --cpu-prof DIR      write a processor profile of the daemon
  --help              this text
`;

const DEFAULT_ROUNDS = 5;
/** More says nothing more about medians. */
const MAX_ROUNDS = 100;

/** @throws Error with what is wrong about the arguments */
export const parseOptions = (args: readonly string[]): Options => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: '' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      peer: { type: 'string' },
      'with-containerd': { type: 'boolean', default: false },
      'without-berth': { type: 'boolean', default: false },
      json: { type: 'string' },
      source: { type: 'boolean', default: false },
      'cpu-prof': { type: 'string' },
    },
  });
  const { quick, list, help, peer, json, source } = values;
  const rounds = values.rounds === undefined ? (quick ? 1 : DEFAULT_ROUNDS) : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) throw new Error(`--rounds must be from 1 to ${MAX_ROUNDS}`);
  if (peer !== undefined && values['with-containerd']) throw new Error('--peer and --with-containerd: one peer at a time');
  const withContainerd = values['with-containerd'];
  const withoutBerth = values['without-berth'];
  if (withoutBerth && peer === undefined && !withContainerd) throw new Error('--without-berth leaves nothing to measure');
  const only = values.only.split(',').filter((name) => name !== '');
  return { only, rounds, quick, list, help, peer, withContainerd, withoutBerth, json, source, cpuProf: values['cpu-prof'] };
};
