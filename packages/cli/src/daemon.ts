// The connection to the daemon, made only by the commands that need it: loading gRPC takes longer than `--help` does.
import type { BerthClient, ClientTls } from '@berth/client';
import { readTls, type TlsPaths } from './attach/tls.ts';
import { CliError, exitCodeOfRpc, isRpcError, rpcSentence } from './errors.ts';

/** What every command has: the options of `berth` itself. */
export type Globals = { readonly socket: string; readonly tls: TlsPaths };

/** The client library and a connection. */
export type Daemon = {
  readonly lib: typeof import('@berth/client');
  readonly cri: typeof import('@berth/cri-api');
  readonly client: BerthClient;
  /** For sessions with an https streaming server; empty for a command that has none. */
  readonly tls: ClientTls;
};

/** Connects, lets `use` work, and ends the connection. What the daemon refuses and `use` does not handle becomes a CliError. */
export const withDaemon = async <T>({ socket }: Globals, use: (daemon: Daemon) => Promise<T>): Promise<T> =>
  await connected(socket, {}, use);

/** The same for a command that attaches: a TLS file that cannot be read is told before anything is made or started. */
export const withSessions = async <T>({ socket, tls }: Globals, use: (daemon: Daemon) => Promise<T>): Promise<T> =>
  await connected(socket, await readTls(tls), use);

async function connected<T>(socket: string, tls: ClientTls, use: (daemon: Daemon) => Promise<T>): Promise<T> {
  const [lib, cri] = await Promise.all([import('@berth/client'), import('@berth/cri-api')]);
  await using client = lib.connect({ socket });
  try {
    return await use({ lib, cri, client, tls });
  } catch (error) {
    if (!isRpcError(error)) throw error;
    throw new CliError(rpcSentence(error, socket), exitCodeOfRpc(error), { cause: error });
  }
}
