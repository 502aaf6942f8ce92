// `--detach-keys`, read when the command line is.
import { Option } from 'commander';
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from '../terminal/detach-keys.ts';

/** The parsed keys; none when stdin is no terminal is the session's business. */
export const detachKeysOption = (): Option =>
  new Option('--detach-keys <keys>', 'leave the container running with these keys; empty: none')
    .default(parseDetachKeys(DEFAULT_DETACH_KEYS), DEFAULT_DETACH_KEYS)
    .argParser(parseDetachKeys);
