// Binds the streaming server to its address, with errors that say what to do.

import type { Server } from 'node:http';
import { BlockList, isIP } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { StreamingConfig } from '../config/config.ts';
import { BerthError } from '../util/errors.ts';
import { listenOn } from '../util/listen.ts';
import { isLoopback } from '../util/loopback.ts';

/** Every address of the machine: no URL can point there. */
const WILDCARDS = new BlockList();
WILDCARDS.addAddress('0.0.0.0', 'ipv4');
WILDCARDS.addAddress('::', 'ipv6');

type Where = Pick<StreamingConfig, 'host' | 'port' | 'advertise' | 'tls'>;

/**
 * Listens and gives the actual address.
 * @throws BerthError `STREAMING_ADDRESS_NOT_LOOPBACK`, `STREAMING_ADVERTISE_MISSING`, `STREAMING_PORT_BUSY` or `STREAMING_LISTEN_FAILED`
 */
export async function listen(server: Server, where: Where): Promise<AddressInfo> {
  const { host, port } = where;
  check(where);
  return listenOn(server, host, port, {
    busy: (cause) =>
      new BerthError(
        'failed-precondition',
        'STREAMING_PORT_BUSY',
        `port ${port} on ${host} is in use by another program: end that, or choose another port for the streaming server (0 for any)`,
        { cause },
      ),
    failed: (why, cause) =>
      new BerthError('unavailable', 'STREAMING_LISTEN_FAILED', `cannot listen on ${host} port ${port}: ${why}`, { cause }),
  });
}

/** What URLs begin with: what is advertised, else the address; a name stays one, as the certificate is for the name. */
export function baseUrl({ host, advertise, tls }: Where, { address, port }: AddressInfo): string {
  if (advertise !== undefined) return advertise;
  const shown = tls !== undefined && isIP(host) === 0 ? host : address.includes(':') ? `[${address}]` : address;
  return `${tls === undefined ? 'http' : 'https'}://${shown}:${port}`;
}

function check({ host, advertise, tls }: Where): void {
  if (tls === undefined && !isLoopback(host)) {
    throw new BerthError(
      'invalid-argument',
      'STREAMING_ADDRESS_NOT_LOOPBACK',
      `streaming.address: without TLS (streaming.tls_cert and streaming.tls_key) only a loopback address is listened on, not ${host}`,
    );
  }
  if (advertise === undefined && isWildcard(host)) {
    throw new BerthError(
      'invalid-argument',
      'STREAMING_ADVERTISE_MISSING',
      `streaming.address ${host} is every address of this machine: say in streaming.advertise which URL clients reach it by`,
    );
  }
}

function isWildcard(host: string): boolean {
  const version = isIP(host);
  return version !== 0 && WILDCARDS.check(host, version === 6 ? 'ipv6' : 'ipv4');
}
