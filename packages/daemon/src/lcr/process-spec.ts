/** What init executes: argv and environment by the rules of images and CRI, exact to the byte. */
import type { ContainerConfig } from '@berth/cri-api';
import type { ImageRunConfig } from '../image/image.ts';
import { invalid } from './refuse.ts';
import { annotatedSize, type TerminalSize } from './terminal-size.ts';

export type ProcessSpec = {
  readonly argv: readonly string[];
  /** `KEY=value`; values may be any bytes. */
  readonly env: readonly Buffer[];
  readonly cwd: string;
  readonly tty: boolean;
  /** The terminal's first size, where one is asked for. */
  readonly size: TerminalSize | undefined;
};

/** The PATH of a container when neither image nor request has one, as other runtimes set it. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const noNul = (field: string, value: string | Uint8Array): void => {
  if (typeof value === 'string' ? value.includes('\0') : value.includes(0)) throw invalid(field, 'must not contain a NUL byte');
};

/** CRI: `command` replaces the image's entrypoint and with it its cmd; `args` replace the cmd. */
export const containerArgv = (config: Pick<ContainerConfig, 'command' | 'args'>, image: ImageRunConfig): readonly string[] => {
  const entrypoint = config.command.length > 0 ? config.command : image.entrypoint;
  const rest = config.args.length > 0 || config.command.length > 0 ? config.args : image.cmd;
  const argv = [...entrypoint, ...rest];
  if (argv.length === 0 || argv[0] === '') throw invalid('command', 'neither the request nor the image has a command');
  for (const argument of argv) noNul('command', argument);
  return argv;
};

/** Sets variables in order; one that is set again keeps its place and takes the new value, as other runtimes do. */
class Environment {
  readonly #values = new Map<string, Buffer>();

  set(key: string, value: Buffer | Uint8Array | string): void {
    this.#values.set(key, Buffer.from(value));
  }

  setDefault(key: string, value: string): void {
    if (!this.#values.has(key)) this.set(key, value);
  }

  list(): readonly Buffer[] {
    return [...this.#values].map(([key, value]) => Buffer.concat([Buffer.from(`${key}=`), value]));
  }
}

/** Puts the process together. `home` comes from the image's passwd. */
export const processSpec = (config: ContainerConfig, image: ImageRunConfig, hostname: string, home: string): ProcessSpec => {
  const env = new Environment();
  env.set('PATH', DEFAULT_PATH);
  env.set('HOSTNAME', hostname);
  if (config.tty) env.set('TERM', 'xterm');
  for (const entry of image.env) {
    const equals = entry.indexOf('=');
    // An entry without "=" is a broken image; other runtimes drop it as well.
    if (equals > 0 && !entry.includes('\0')) env.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  for (const { key, value } of config.envs) {
    if (key === '' || key.includes('=')) throw invalid('envs', `"${key}" is not a variable name`);
    noNul('envs', key);
    noNul('envs', value);
    env.set(key, value);
  }
  env.setDefault('HOME', home);
  const cwd = config.workingDir || image.workingDir || '/';
  if (!cwd.startsWith('/')) throw invalid('working_dir', `"${cwd}" is not an absolute path`);
  noNul('working_dir', cwd);
  return { argv: containerArgv(config, image), env: env.list(), cwd, tty: config.tty, size: annotatedSize(config.annotations) };
};
