// What all commands share: the socket, how they are made, how their result becomes the exit status.
import { Command, Option } from 'commander';
import { tlsPathsOf } from '../attach/tls.ts';
import type { Globals } from '../daemon.ts';
import { CliError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';

/** As in the client library, which is not loaded for `--help`. */
const DEFAULT_SOCKET = '/run/berth/berth.sock';

/** The option every command takes, before or after its name. */
export const socketOption = (): Option =>
  new Option('--socket <path>', `the daemon's socket (default: $BERTH_SOCKET, else ${DEFAULT_SOCKET})`);

/** `-o table|json` */
export const outputOption = (): Option =>
  new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table');

/** A command with its description and examples for `--help`. */
export function newCommand(name: string, description: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(description)
    .addOption(socketOption())
    .addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}\n`).join('')}`);
}

/** The socket that was given, wherever it was, and the TLS files of a command that attaches. */
export function globalsOf(command: Command): Globals {
  return { socket: socketOf(command), tls: tlsPathsOf(command) };
}

function socketOf(command: Command): string {
  for (let each: Command | null = command; each !== null; each = each.parent) {
    const { socket } = each.opts<{ socket?: string }>();
    if (socket !== undefined) return socketPath('--socket', socket);
  }
  const fromEnvironment = process.env['BERTH_SOCKET'] ?? '';
  return fromEnvironment === '' ? DEFAULT_SOCKET : socketPath('BERTH_SOCKET', fromEnvironment);
}

/** A path, also as the address that `crictl` and kubelet are given. @throws CliError */
function socketPath(from: string, given: string): string {
  const path = given.replace(/^unix:(?:\/\/)?/, '');
  if (path !== '' && !/^[a-z]+:\/\//.test(path)) return path;
  throw new CliError(`${from} "${given}": give the path of the daemon's socket, or unix://PATH`);
}

/** Runs an action; what it gives becomes the exit status, nothing means 0. */
export async function conclude(result: Promise<number | void>): Promise<void> {
  process.exitCode = (await result) ?? EXIT.ok;
}

/** A whole number of this unit, 0 or more, for commander. */
export const wholeNumber =
  (what: string) =>
  (text: string): number => {
    if (/^\d{1,9}$/.test(text)) return Number(text);
    throw new RangeError(`${what} must be a whole number, not "${text}"`);
  };

/** Collects an option that may be given several times. */
export const collect = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];
