// What the connection to an https streaming server needs: files named by options or by the environment.
import { readFile } from 'node:fs/promises';
import type { ClientTls } from '@berth/client';
import { type Command, Option } from 'commander';
import { CliError } from '../errors.ts';

/** Paths of PEM files. */
export type TlsPaths = { readonly ca?: string; readonly cert?: string; readonly key?: string };

const NAMES = ['ca', 'cert', 'key'] as const;
const MEANINGS = {
  ca: "authorities of the streaming server's certificate",
  cert: "this client's certificate, where the server asks for one",
  key: 'its key',
};

/** Adds `--tls-ca`, `--tls-cert` and `--tls-key` to a command that attaches. */
export function withTlsOptions(command: Command): Command {
  for (const name of NAMES) {
    command.addOption(new Option(`--tls-${name} <file>`, `${MEANINGS[name]} (default: $${variable(name)})`));
  }
  return command;
}

/** The files that options or, without them, the environment name. */
export function tlsPathsOf(command: Command): TlsPaths {
  const options = command.opts<{ tlsCa?: string; tlsCert?: string; tlsKey?: string }>();
  const given = { ca: options.tlsCa, cert: options.tlsCert, key: options.tlsKey };
  const paths = NAMES.map((name) => [name, given[name] ?? process.env[variable(name)] ?? '']);
  return Object.fromEntries(paths.filter(([, path]) => path !== '')) as TlsPaths;
}

/**
 * Reads the files.
 * @throws CliError naming the one that cannot be read, or saying that one of certificate and key is missing
 */
export async function readTls(paths: TlsPaths): Promise<ClientTls> {
  if ((paths.cert === undefined) !== (paths.key === undefined)) throw new CliError('--tls-cert and --tls-key need each other');
  const read = NAMES.map(async (name) => {
    const path = paths[name];
    if (path === undefined) return [];
    try {
      return [[name, await readFile(path)]];
    } catch (cause) {
      throw new CliError(
        `--tls-${name}: ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
        undefined,
        { cause },
      );
    }
  });
  return Object.fromEntries((await Promise.all(read)).flat()) as ClientTls;
}

const variable = (name: string): string => `BERTH_TLS_${name.toUpperCase()}`;
