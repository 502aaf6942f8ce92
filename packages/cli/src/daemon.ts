// The connection to the daemon, made only by the commands that need it: loading gRPC takes longer than `--help` does.
import type { BerthClient } from '@berth/client';
import type { TlsPaths } from './attach/tls.ts';
import { CliError, exitCodeOfRpc, isRpcError, rpcSentence } from './errors.ts';

/** What every command has: the options of `berth` itself. */
export type Globals = { readonly socket: string; readonly tls: TlsPaths };

/** The client library and a connection. */
export type Daemon = {
  readonly lib: typeof import('@berth/client');
  readonly cri: typeof import('@berth/cri-api');
  readonly client: BerthClient;
  /** For sessions with an https streaming server. */
  readonly tls: TlsPaths;
};

/** Connects, lets `use` work, and ends the connection. What the daemon refuses and `use` does not handle becomes a CliError. */
export async function withDaemon<T>({ socket, tls }: Globals, use: (daemon: Daemon) => Promise<T>): Promise<T> {
  const [lib, cri] = await Promise.all([import('@berth/client'), import('@berth/cri-api')]);
  await using client = lib.connect({ socket });
  try {
    return await use({ lib, cri, client, tls });
  } catch (error) {
    if (!isRpcError(error)) throw error;
    throw new CliError(rpcSentence(error, socket), exitCodeOfRpc(error), { cause: error });
  }
}
