/** Binds a server to an address; whose server it is says what the errors are. */
import type { AddressInfo, Server } from 'node:net';
import type { BerthError } from './errors.ts';

export type ListenErrors = {
  /** Somebody else has the port. */
  busy(cause: Error): BerthError;
  /** Everything else; `why` is the system's sentence. */
  failed(why: string, cause: unknown): BerthError;
};

/**
 * Listens on `host:port` (0: any) and gives the actual address.
 * @throws BerthError as `errors` makes them
 */
export async function listenOn(server: Server, host: string, port: number, errors: ListenErrors): Promise<AddressInfo> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host, port }, resolve);
  try {
    await promise;
  } catch (cause) {
    if (!(cause instanceof Error)) throw errors.failed(String(cause), cause);
    throw 'code' in cause && cause.code === 'EADDRINUSE' ? errors.busy(cause) : errors.failed(cause.message, cause);
  } finally {
    server.off('error', reject);
  }
  return server.address() as AddressInfo;
}
