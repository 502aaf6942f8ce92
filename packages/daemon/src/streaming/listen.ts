// Binds the streaming server to its address, with errors that say what to do.

import type { Server } from 'node:http';
import { BlockList, isIP } from 'node:net';
import type { AddressInfo } from 'node:net';
import { BerthError } from '../util/errors.ts';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/**
 * Listens and gives the base URL with the actual port.
 * @throws BerthError `STREAMING_ADDRESS_NOT_LOOPBACK`, `STREAMING_PORT_BUSY` or `STREAMING_LISTEN_FAILED`
 */
export async function listen(server: Server, host: string, port: number): Promise<string> {
  if (!isLoopback(host)) {
    throw new BerthError(
      'invalid-argument',
      'STREAMING_ADDRESS_NOT_LOOPBACK',
      `the streaming server may listen on a loopback address only until TLS is built, not on ${host}`,
    );
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host, port }, resolve);
  try {
    await promise;
  } catch (error) {
    throw listenError(error, host, port);
  } finally {
    server.off('error', reject);
  }
  const { address, port: actual } = server.address() as AddressInfo;
  return `http://${address.includes(':') ? `[${address}]` : address}:${actual}`;
}

/** Names other than localhost are refused: what they resolve to can change. */
function isLoopback(host: string): boolean {
  const version = isIP(host);
  return version === 0 ? host === 'localhost' : LOOPBACK.check(host, version === 6 ? 'ipv6' : 'ipv4');
}

function listenError(error: unknown, host: string, port: number): BerthError {
  const busy = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
  if (!busy) {
    const why = error instanceof Error ? error.message : String(error);
    return new BerthError('unavailable', 'STREAMING_LISTEN_FAILED', `cannot listen on ${host} port ${port}: ${why}`, {
      cause: error,
    });
  }
  return new BerthError(
    'failed-precondition',
    'STREAMING_PORT_BUSY',
    `port ${port} on ${host} is in use by another program: end that, or choose another port for the streaming server (0 for any)`,
    { cause: error },
  );
}
