/** The files that all containers of a pod see: /etc/hosts, /etc/hostname, /etc/resolv.conf. */
import { readFile } from 'node:fs/promises';
import { hostname as hostHostname } from 'node:os';
import type { DNSConfig, PodSandboxConfig } from '@berth/cri-api';
import { unless } from '../util/errno.ts';
import { invalid } from './refuse.ts';

/** resolv.conf(5) and common C libraries take far less; this only keeps a file from growing without bound. */
const MAX_DNS_ENTRIES = 256;
/** gethostname(2): HOST_NAME_MAX. */
const MAX_HOSTNAME_BYTES = 64;
/** How many digits of an id stand for a pod that has no hostname: as other runtimes do. */
const ID_HOSTNAME_DIGITS = 12;

/** The pod's hostname: as asked; else the host's with host network; else from the id. */
export const podHostname = (config: PodSandboxConfig, id: string, network: 'pod' | 'node'): string => {
  const name = config.hostname || (network === 'node' ? hostHostname() : id.slice(0, ID_HOSTNAME_DIGITS));
  if (!/^[A-Za-z0-9_.-]+$/.test(name) || Buffer.byteLength(name) > MAX_HOSTNAME_BYTES)
    throw invalid('hostname', `"${name}" is not a host name of at most ${MAX_HOSTNAME_BYTES} letters, digits, dots and hyphens`);
  return name;
};

/** True when the request says nothing about DNS: then the host's file counts. */
const isEmpty = (dns: DNSConfig | undefined): boolean =>
  !dns || dns.servers.length + dns.searches.length + dns.options.length === 0;

/** resolv.conf(5) from the request; a value must be one word, or it could add lines of its own. */
export const resolvConf = (dns: DNSConfig): string => {
  const words = (field: string, values: readonly string[]): readonly string[] => {
    if (values.length > MAX_DNS_ENTRIES) throw invalid(`dns_config.${field}`, `more than ${MAX_DNS_ENTRIES} entries`);
    const bad = values.find((value) => !/^[!-~]+$/.test(value));
    if (bad !== undefined) throw invalid(`dns_config.${field}`, `"${bad}" is not one word`);
    return values;
  };
  const searches = words('searches', dns.searches);
  const options = words('options', dns.options);
  return [
    ...(searches.length > 0 ? [`search ${searches.join(' ')}\n`] : []),
    ...words('servers', dns.servers).map((server) => `nameserver ${server}\n`),
    ...(options.length > 0 ? [`options ${options.join(' ')}\n`] : []),
  ].join('');
};

/** What stands in the three files. */
export type PodFiles = { readonly hosts: string; readonly hostname: string; readonly resolvConf: string };

export const podFiles = async (config: PodSandboxConfig, hostname: string, network: 'pod' | 'node'): Promise<PodFiles> => {
  const hostFile = async (path: string): Promise<string> => (await unless(['ENOENT'], readFile(path, 'utf8'))) ?? '';
  const { dnsConfig } = config;
  return {
    // A pod with a network of its own has no address yet (network plugins come later): its name is itself, by loopback.
    hosts:
      network === 'node'
        ? await hostFile('/etc/hosts')
        : `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t${hostname}\n`,
    hostname: `${hostname}\n`,
    resolvConf: dnsConfig && !isEmpty(dnsConfig) ? resolvConf(dnsConfig) : await hostFile('/etc/resolv.conf'),
  };
};
