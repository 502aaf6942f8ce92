/** Where clients for the interop tests are kept between runs: outside the tree. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Absolute path of the folder; it need not exist. */
export const clientCache = join(
  process.env['XDG_CACHE_HOME'] ?? (process.getuid?.() === 0 ? '/var/cache' : join(homedir(), '.cache')),
  'berth-ci',
);
