// The connection to the daemon, made only by the commands that need it: loading gRPC takes longer than `--help` does.
import type { BerthClient } from '@berth/client';
import { CliError, exitCodeOfRpc, isRpcError, rpcSentence } from './errors.ts';

/** What every command has: the options of `berth` itself. */
export type Globals = { readonly socket: string };

/** The client library and a connection. */
export type Daemon = {
  readonly lib: typeof import('@berth/client');
  readonly cri: typeof import('@berth/cri-api');
  readonly client: BerthClient;
};

/** Connects, lets `use` work, and ends the connection. What the daemon refuses and `use` does not handle becomes a CliError. */
export async function withDaemon<T>({ socket }: Globals, use: (daemon: Daemon) => Promise<T>): Promise<T> {
  const [lib, cri] = await Promise.all([import('@berth/client'), import('@berth/cri-api')]);
  await using client = lib.connect({ socket });
  try {
    return await use({ lib, cri, client });
  } catch (error) {
    if (!isRpcError(error)) throw error;
    throw new CliError(rpcSentence(error, socket), exitCodeOfRpc(error), { cause: error });
  }
}
