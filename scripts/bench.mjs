/** `npm run bench [-- OPTIONS]`: sets up, then measures Berth over real containers, and a peer in turn with it when one is asked for. */
import { readFileSync } from 'node:fs';
import { orExplain } from './setup/say.mjs';
import { becomeProjectNode } from './setup/run.mjs';
import { root } from './setup/paths.mjs';
import { setUp } from './setup.mjs';

/**
 * A mount namespace in which /run is what it is on every machine with systemd, and where runtimes keep their state by default: in memory.
 * On a disk, pods and containers would be measured by how fast its file system finds free inodes (bench/README.md, "State in memory").
 */
const MOUNT = 'mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run && exec "$@"';
const RUN_IN_MEMORY = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', MOUNT, 'sh'];

const args = process.argv.slice(2);
await orExplain(async () => setUp());
const inMemory = /^\S+ \/run tmpfs /m.test(readFileSync('/proc/mounts', 'utf8'));
// The socket of a peer that already runs would be out of sight.
const hasPeer = args.some((word) => /^--peer(?:=|$)/.test(word));
await becomeProjectNode(
  ['--conditions=source', `${root}/bench/src/main.ts`, ...args],
  process.env,
  inMemory || hasPeer ? [] : RUN_IN_MEMORY,
);
