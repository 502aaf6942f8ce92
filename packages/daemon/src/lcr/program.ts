/** A program besides init: as init runs (user, capabilities, environment, working directory), with a command line of its own. */
import { type ContainerSpec, type Program } from '../runtime/runtime.ts';
import { readPlan } from './container.ts';
import { identitySettings } from './identity.ts';
import type { LcrHost } from './lcr-host.ts';
import { containerPaths } from './paths.ts';
import { processSpec } from './process-spec.ts';
import { invalid } from './refuse.ts';
import { encodeShimConfig } from './shim-config.ts';
import { sizeSettings } from './terminal-size.ts';

/** @throws BerthError `INVALID_FIELD` for a command that cannot be one */
export const programFor = async (host: LcrHost, spec: ContainerSpec, program: Program): Promise<Buffer> => {
  if (program.command.some((argument) => argument.includes('\0'))) throw invalid('cmd', 'must not contain a NUL byte');
  const plan = await readPlan(containerPaths(host.config, spec.id));
  const { env } = processSpec({ ...spec.config, tty: spec.config.tty || program.tty }, spec.image.run, plan.hostname, plan.home);
  return encodeShimConfig([
    ...program.command.map((argument) => ['arg', argument] as const),
    ...env.map((entry) => ['env', entry] as const),
    ['cwd', plan.cwd],
    ...identitySettings(plan, host.facts),
    ...(program.tty ? [['tty', '1'] as const] : []),
    ...(program.stdin ? [['stdin', '1'] as const] : []),
    ...sizeSettings(program.size),
    ['ring', String(host.config.stdio.ringBytes)],
  ]);
};
