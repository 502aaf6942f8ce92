/** Capabilities of a container: CRI's add and drop lists over the default set, limited to what the daemon has. */
import type { Capability } from '@berth/cri-api';
import { hostCannot, invalid, notBuilt } from './refuse.ts';

/** capabilities(7), in bit order. */
export const CAPABILITIES = [
  'chown',
  'dac_override',
  'dac_read_search',
  'fowner',
  'fsetid',
  'kill',
  'setgid',
  'setuid',
  'setpcap',
  'linux_immutable',
  'net_bind_service',
  'net_broadcast',
  'net_admin',
  'net_raw',
  'ipc_lock',
  'ipc_owner',
  'sys_module',
  'sys_rawio',
  'sys_chroot',
  'sys_ptrace',
  'sys_pacct',
  'sys_admin',
  'sys_boot',
  'sys_nice',
  'sys_resource',
  'sys_time',
  'sys_tty_config',
  'mknod',
  'lease',
  'audit_write',
  'audit_control',
  'setfcap',
  'mac_override',
  'mac_admin',
  'syslog',
  'wake_alarm',
  'block_suspend',
  'audit_read',
  'perfmon',
  'bpf',
  'checkpoint_restore',
] as const; // prettier-ignore

/** What a container has when the request says nothing: the set that other CRI runtimes give. */
const DEFAULT = [
  'chown',
  'dac_override',
  'fsetid',
  'fowner',
  'mknod',
  'net_raw',
  'setgid',
  'setuid',
  'setfcap',
  'setpcap',
  'net_bind_service',
  'sys_chroot',
  'kill',
  'audit_write',
]; // prettier-ignore

const bitOf = (name: string): bigint => 1n << BigInt((CAPABILITIES as readonly string[]).indexOf(name));

/** True when the set has the capability. */
export const hasCapability = (set: bigint, name: string): boolean => (set & bitOf(name)) !== 0n;

const parse = (names: readonly string[], field: string): { readonly all: boolean; readonly names: readonly string[] } => {
  const plain = names.map((name) => name.toLowerCase().replace(/^cap_/, ''));
  const unknown = plain.findIndex((name) => name !== 'all' && !(CAPABILITIES as readonly string[]).includes(name));
  if (unknown !== -1) throw invalid(field, `there is no capability "${names[unknown]}"`);
  return { all: plain.includes('all'), names: plain.filter((name) => name !== 'all') };
};

/**
 * The capabilities of a container as a bit set. `ALL` means what the daemon itself has; a capability that is added by
 * name and that the daemon lacks is refused, one that is only in the default set is left out.
 */
export const containerCapabilities = (requested: Capability | undefined, privileged: boolean, available: bigint): bigint => {
  const at = 'linux.security_context.capabilities';
  const add = parse(requested?.addCapabilities ?? [], `${at}.add_capabilities`);
  const drop = parse(requested?.dropCapabilities ?? [], `${at}.drop_capabilities`);
  if ((requested?.addAmbientCapabilities.length ?? 0) > 0) throw notBuilt(`${at}.add_ambient_capabilities`);
  if (privileged) return available;
  let set = add.all ? available : DEFAULT.reduce((bits, name) => bits | bitOf(name), 0n) & available;
  if (drop.all) set = 0n;
  for (const name of add.names) {
    if (!hasCapability(available, name))
      throw hostCannot(`${at}.add_capabilities`, `the daemon itself does not have ${name.toUpperCase()}`);
    set |= bitOf(name);
  }
  for (const name of drop.names) set &= ~bitOf(name);
  return set;
};

/** The set as the shim takes it: 16 hex digits. */
export const capabilityMask = (set: bigint): string => set.toString(16).padStart(16, '0');
