/** berthd's command line. */
import { parseArgs } from 'node:util';
import { BerthError, messageOf } from '../util/errors.ts';

export type Flags = {
  readonly config?: string;
  readonly root?: string;
  readonly state?: string;
  readonly socket?: string;
  readonly streamingAddress?: string;
  readonly metricsAddress?: string;
  readonly defaultImage?: string;
  readonly logLevel?: string;
  readonly help: boolean;
  readonly version: boolean;
};

export const HELP = `Usage: berthd [options]

The Berth daemon: serves CRI on a unix socket and attach sessions over HTTP. Runs in the foreground, as root.

  --config FILE                   settings in TOML; flags win over it
  --root DIR                      kept across reboots: images, records (default /var/lib/berth)
  --state DIR                     gone at reboot: sockets, namespaces, mounts (default /run/berth)
  --socket PATH                   CRI socket (default STATE/berth.sock)
  --streaming-address HOST:PORT   where attach URLs point to; port 0: any free one (default 127.0.0.1:10350)
  --metrics-address HOST:PORT     serve Prometheus metrics there, on loopback only (default: not at all)
  --default-image FILE            image archive that is imported when its image is not there yet
  --log-level LEVEL               debug, info, warn or error (default info); the log goes to stderr
  --help                          this text
  --version                       the version

Example: berthd --root /tmp/b/root --state /tmp/b/run --streaming-address 127.0.0.1:0
`;

/**
 * Reads the arguments behind the program's name.
 * @throws BerthError `CONFIG_INVALID`
 */
export function parseFlags(args: readonly string[]): Flags {
  try {
    const { values } = parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: {
        config: { type: 'string' },
        root: { type: 'string' },
        state: { type: 'string' },
        socket: { type: 'string' },
        'streaming-address': { type: 'string' },
        'metrics-address': { type: 'string' },
        'default-image': { type: 'string' },
        'log-level': { type: 'string' },
        help: { type: 'boolean', default: false },
        version: { type: 'boolean', default: false },
      },
    });
    const {
      'streaming-address': streamingAddress,
      'metrics-address': metricsAddress,
      'default-image': defaultImage,
      'log-level': logLevel,
      ...rest
    } = values;
    return {
      ...rest,
      ...(streamingAddress === undefined ? {} : { streamingAddress }),
      ...(metricsAddress === undefined ? {} : { metricsAddress }),
      ...(defaultImage === undefined ? {} : { defaultImage }),
      ...(logLevel === undefined ? {} : { logLevel }),
    };
  } catch (cause) {
    throw new BerthError('invalid-argument', 'CONFIG_INVALID', messageOf(cause), { cause });
  }
}
