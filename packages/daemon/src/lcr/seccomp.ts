/**
 * Seccomp profiles in the language of LXC's policy files (version 2, with two actions more: `berth-seccomp` reads it, not LXC): the
 * default one, and OCI profiles translated.
 */
import { hasCapability } from './capabilities.ts';
import { invalid, notBuilt } from './refuse.ts';
import { ALLOWED, ALLOWED_WITH, NAMESPACE_FLAGS, PERSONALITIES, REFUSED, REFUSED_SOCKET_FAMILY } from './seccomp-default.ts';
import { type OciArgument, type OciRule, type OciSeccomp, parseOciSeccomp } from './seccomp-oci.ts';

const EPERM = 1;
const ENOSYS = 38;

/** The default profile for a container with these capabilities. */
export const defaultProfile = (capabilities: bigint): string => {
  const lines = ['2', `allowlist errno ${ENOSYS}`, '[all]', ...ALLOWED];
  const granted = new Set<string>();
  const withheld = new Set<string>(REFUSED);
  for (const [capability, names] of Object.entries(ALLOWED_WITH)) {
    const to = hasCapability(capabilities, capability) ? granted : withheld;
    for (const name of names) to.add(name);
  }
  lines.push(...granted);
  // clone3 hides its flags behind a pointer: as if the kernel did not have it, C libraries take clone instead.
  for (const name of withheld)
    if (!granted.has(name) && name !== 'clone' && name !== 'clone3') lines.push(`${name} errno ${EPERM}`);
  if (!granted.has('clone')) {
    lines.push(`clone allow [0,0,SCMP_CMP_MASKED_EQ,${NAMESPACE_FLAGS.reduce((all, flag) => all + flag, 0)}]`);
    for (const flag of NAMESPACE_FLAGS) lines.push(`clone errno ${EPERM} [0,${flag},SCMP_CMP_MASKED_EQ,${flag}]`);
  }
  for (const value of PERSONALITIES) lines.push(`personality allow [0,${value},SCMP_CMP_EQ]`);
  lines.push(
    `socket allow [0,${REFUSED_SOCKET_FAMILY},SCMP_CMP_NE]`,
    `socket errno ${EPERM} [0,${REFUSED_SOCKET_FAMILY},SCMP_CMP_EQ]`,
  );
  return `${lines.join('\n')}\n`;
};

/** What an OCI profile may depend on. */
export type ProfileContext = {
  readonly capabilities: bigint;
  readonly architecture: 'x64' | 'arm64';
  /** `uname -r`. */
  readonly kernel: string;
};

/**
 * Translates an OCI seccomp profile (JSON text). What the filter cannot give is refused by name, never left out.
 * @throws BerthError naming `field`.
 */
export const translateProfile = (field: string, json: string, context: ProfileContext): string => {
  const profile = parseOciSeccomp(field, json);
  const standard = action(field, profile.defaultAction, profile.defaultErrnoRet);
  const lines = ['2', standard === 'allow' ? 'denylist allow' : `allowlist ${standard}`, section(field, profile, context)];
  for (const rule of profile.syscalls) {
    if (!applies(rule, context)) continue;
    const what = action(field, rule.action, rule.errnoRet);
    // libseccomp refuses a rule that says what the default says anyway.
    if (what === standard) continue;
    for (const name of rule.names) for (const condition of conditions(field, rule.args)) lines.push(`${name} ${what}${condition}`);
  }
  return `${lines.join('\n')}\n`;
};

const action = (field: string, name: string, errno: number | undefined): string => {
  switch (name) {
    case 'SCMP_ACT_ALLOW':
      return 'allow';
    case 'SCMP_ACT_ERRNO':
      return `errno ${errno ?? EPERM}`;
    case 'SCMP_ACT_LOG':
      return 'log';
    case 'SCMP_ACT_KILL':
    case 'SCMP_ACT_KILL_THREAD':
      return 'kill';
    case 'SCMP_ACT_KILL_PROCESS':
      return 'kill_process';
    case 'SCMP_ACT_TRAP':
      return 'trap';
    default:
      // SCMP_ACT_NOTIFY and SCMP_ACT_TRACE want somebody who answers for each system call.
      throw notBuilt(`${field}: the seccomp action ${name}`);
  }
};

const OWN_ARCHITECTURE = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' } as const;
const COMPATIBLE = { x64: 'SCMP_ARCH_X86', arm64: 'SCMP_ARCH_ARM' } as const;
const OWN_SECTION = { x64: '[x86_64]', arm64: '[arm64]' } as const;

/** Without a list of architectures the rules are for all that the machine can run; with one, only for those named. */
const section = (field: string, profile: OciSeccomp, { architecture }: ProfileContext): string => {
  const own = OWN_ARCHITECTURE[architecture];
  const mapped = profile.archMap.find((entry) => entry.architecture === own);
  const listed = profile.archMap.length > 0 ? (mapped ? [own, ...mapped.subArchitectures] : []) : profile.architectures;
  if (listed.length === 0 && profile.archMap.length === 0) return '[all]';
  if (!listed.includes(own)) throw invalid(field, `the seccomp profile is not for ${own}`);
  return listed.includes(COMPATIBLE[architecture]) ? '[all]' : OWN_SECTION[architecture];
};

const applies = (rule: OciRule, context: ProfileContext): boolean => {
  const own = { x64: ['amd64'], arm64: ['arm64'] }[context.architecture];
  const has = (name: string): boolean => hasCapability(context.capabilities, name.toLowerCase().replace(/^cap_/, ''));
  const { includes, excludes } = rule;
  if (includes.arches.length > 0 && !includes.arches.some((arch) => own.includes(arch))) return false;
  if (includes.caps.length > 0 && !includes.caps.every(has)) return false;
  if (includes.minKernel !== '' && !kernelAtLeast(context.kernel, includes.minKernel)) return false;
  if (excludes.arches.some((arch) => own.includes(arch))) return false;
  if (excludes.caps.some(has)) return false;
  return excludes.minKernel === '' || !kernelAtLeast(context.kernel, excludes.minKernel);
};

const kernelAtLeast = (kernel: string, wanted: string): boolean => {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
};

/** One rule with all conditions; several conditions on one argument are alternatives, each a rule of its own (as runc does). */
const conditions = (field: string, args: readonly OciArgument[]): readonly string[] => {
  const texts = args.map((argument) => condition(field, argument));
  const distinct = new Set(args.map(({ index }) => index)).size === args.length;
  if (args.length === 0) return [''];
  return distinct ? [` ${texts.join('')}`] : texts.map((text) => ` ${text}`);
};

const OPERATORS = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map((name) => `SCMP_CMP_${name}`);

const condition = (field: string, { index, value, valueTwo, op }: OciArgument): string => {
  if (!OPERATORS.includes(op)) throw notBuilt(`${field}: the seccomp operator ${op}`);
  // OCI has the mask in `value` and the wanted bits in `valueTwo`; LXC's language has them the other way round.
  return op === 'SCMP_CMP_MASKED_EQ' ? `[${index},${valueTwo},${op},${value}]` : `[${index},${value},${op}]`;
};
