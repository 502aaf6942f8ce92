/** Seccomp, AppArmor and SELinux of a container: which profile the request means, and whether the host can give it. */
import { constants, open } from 'node:fs/promises';
import {
  type LinuxContainerSecurityContext,
  type SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
  type SELinuxOption,
} from '@berth/cri-api';
import { errnoOf } from '../util/errno.ts';
import type { HostFacts } from './host-facts.ts';
import { hostCannot, invalid, notBuilt } from './refuse.ts';
import { defaultProfile, translateProfile } from './seccomp.ts';

const AT = 'linux.security_context';

/** A seccomp profile is a few KiB; what is larger is another file by mistake. */
const MAX_PROFILE_BYTES = 1024 * 1024;

export type Profile =
  | { readonly kind: 'default' }
  | { readonly kind: 'unconfined' }
  | { readonly kind: 'localhost'; readonly ref: string };

/** CRI's message, or its deprecated string. Nothing at all means `unset`. */
const profile = <Unset>(field: string, message: SecurityProfile | undefined, deprecated: string, unset: Unset): Profile | Unset => {
  if (message) {
    switch (message.profileType) {
      case ProfileType.RuntimeDefault:
        return { kind: 'default' };
      case ProfileType.Unconfined:
        return { kind: 'unconfined' };
      case ProfileType.Localhost:
        if (message.localhostRef === '') throw invalid(`${field}.localhost_ref`, 'missing');
        return { kind: 'localhost', ref: message.localhostRef };
      default:
        throw invalid(`${field}.profile_type`, 'unknown type');
    }
  }
  if (deprecated === '') return unset;
  if (deprecated === 'runtime/default' || deprecated === 'docker/default') return { kind: 'default' };
  if (deprecated === 'unconfined') return { kind: 'unconfined' };
  if (deprecated.startsWith('localhost/')) return { kind: 'localhost', ref: deprecated.slice('localhost/'.length) };
  throw invalid(field, `unknown profile "${deprecated}"`);
};

/**
 * The text of the LXC policy file; undefined: unconfined. Privileged containers are never confined. Without any profile
 * in the request a container is unconfined: CRI leaves the default to its caller, who asks for RuntimeDefault.
 */
export const seccompPolicy = async (
  context: LinuxContainerSecurityContext | undefined,
  capabilities: bigint,
  facts: HostFacts,
): Promise<string | undefined> => {
  const field = `${AT}.seccomp`;
  const wanted = profile(field, context?.seccomp, context?.seccompProfilePath ?? '', { kind: 'unconfined' } as const);
  if (context?.privileged || wanted.kind === 'unconfined') return undefined;
  if (wanted.kind === 'default') return cachedDefault(capabilities);
  const architecture = process.arch;
  if (architecture !== 'x64' && architecture !== 'arm64') throw notBuilt(field, `is not built for ${architecture}`);
  return translateProfile(field, await readProfile(field, wanted.ref), { capabilities, architecture, kernel: facts.kernel });
};

/** Containers mostly have one of a few capability sets: putting 400 lines together for each would only cost time. */
const defaults = new Map<bigint, string>();
const cachedDefault = (capabilities: bigint): string => {
  const known = defaults.get(capabilities);
  if (known !== undefined) return known;
  const text = defaultProfile(capabilities);
  defaults.set(capabilities, text);
  return text;
};

/** The reference comes from the API: absolute, no link at its end, a regular file, bounded. */
const readProfile = async (field: string, path: string): Promise<string> => {
  if (!path.startsWith('/')) throw invalid(field, `"${path}" is not an absolute path`);
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile()) throw invalid(field, `${path} is not a regular file`);
    if (stats.size > MAX_PROFILE_BYTES) throw invalid(field, `${path} is larger than ${MAX_PROFILE_BYTES} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    const code = errnoOf(error);
    if (code === undefined || !/^E[A-Z]+$/.test(code)) throw error;
    throw invalid(field, `${path} cannot be read: ${code === 'ELOOP' ? 'it is a symbolic link' : code}`);
  }
};

/**
 * The value of `lxc.apparmor.profile`; undefined: LXC's own default, where the host has AppArmor. Where that is not loaded, containers that
 * ask for nothing are unconfined, as on a host without AppArmor: LXC would start none at all.
 */
export const apparmorProfile = (context: LinuxContainerSecurityContext | undefined, facts: HostFacts): string | undefined => {
  const field = `${AT}.apparmor`;
  const wanted = profile(field, context?.apparmor, context?.apparmorProfile ?? '', { kind: 'unset' } as const);
  if (wanted.kind === 'localhost') {
    if (!facts.apparmor) throw hostCannot(field, `the host has no AppArmor, the profile ${wanted.ref} cannot be applied`);
    if (!/^[A-Za-z0-9_./:-]+$/.test(wanted.ref)) throw invalid(field, `"${wanted.ref}" is not a profile name`);
    return context?.privileged ? 'unconfined' : wanted.ref;
  }
  if (!facts.apparmor) return undefined;
  if (context?.privileged || wanted.kind === 'unconfined') return 'unconfined';
  if (facts.apparmorDefault) return undefined;
  if (wanted.kind === 'default') throw hostCannot(field, "LXC's profile was not loaded when berthd started (package apparmor)");
  return 'unconfined';
};

/** Labels that nothing would enforce are refused; with SELinux they are not built yet. */
export const refuseSelinux = (options: SELinuxOption | undefined, facts: HostFacts): void => {
  if (!options || [options.user, options.role, options.type, options.level].every((value) => value === '')) return;
  if (!facts.selinux) throw hostCannot(`${AT}.selinux_options`, 'the host has no SELinux');
  throw notBuilt(`${AT}.selinux_options`);
};
