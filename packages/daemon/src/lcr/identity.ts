/** As whom a program runs in a container, for init and for exec alike: the settings that the shim's trampoline takes (shim/PROTOCOL.md). */
import type { HostFacts } from './host-facts.ts';
import type { ContainerPlan } from './plan.ts';

/**
 * Soft limit of open files: Node raises its own to the hard one, and children inherit that. Other runtimes hand on what
 * they were started with, which is this nearly everywhere; programs that want more raise it themselves.
 */
const OPEN_FILES = 1024;

export const identitySettings = (plan: ContainerPlan, facts: HostFacts): readonly (readonly [string, string])[] => [
  ['uid', String(plan.user.uid)],
  ['gid', String(plan.user.gid)],
  ...plan.user.groups.map((group) => ['group', String(group)] as const),
  ...(plan.capabilities === undefined ? [] : [['capabilities', plan.capabilities] as const]),
  ...(plan.noNewPrivileges ? [['no-new-privs', '1'] as const] : []),
  ...(plan.seccomp === undefined ? [] : [['seccomp', plan.seccomp] as const]),
  ...openFiles(facts.openFiles),
];

/** Without a hard limit there is nothing to lower the soft one below. */
const openFiles = (hard: string): readonly (readonly [string, string])[] =>
  hard === 'unlimited'
    ? []
    : [
        ['nofile-soft', String(Math.min(OPEN_FILES, Number(hard)))],
        ['nofile-hard', hard],
      ];
