/** The machine that the numbers belong to. */
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { exec } from './exec.ts';

const GIB = 1024 ** 3;

export type Machine = {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  readonly lxc: string;
  /** At the start; above the number of cores the numbers are not worth much. */
  readonly load: number;
};

export const describeMachine = async (): Promise<Machine> => ({
  cores: availableParallelism(),
  processor: cpus()[0]?.model ?? 'unknown processor',
  memoryGib: Math.round(totalmem() / GIB),
  kernel: release(),
  node: process.versions.node,
  lxc: await exec('lxc-start', ['--version']).then(
    (text) => text.trim(),
    () => 'not installed',
  ),
  load: loadavg()[0] ?? Number.NaN,
});

export const machineLine = ({ cores, processor, memoryGib, kernel, node, lxc, load }: Machine): string =>
  `${cores} cores (${processor}), ${memoryGib} GiB, Linux ${kernel}, Node ${node}, LXC ${lxc}, load at the start ${load.toFixed(2)}`;
