/** `npm run bench [-- OPTIONS]`: sets up, then measures Berth over real containers, and a peer in turn with it when one is asked for. */
import { orExplain } from './setup/say.mjs';
import { becomeProjectNode } from './setup/run.mjs';
import { root } from './setup/paths.mjs';
import { setUp } from './setup.mjs';

const args = process.argv.slice(2);
await orExplain(async () => setUp());
await becomeProjectNode(['--conditions=source', `${root}/bench/src/main.ts`, ...args]);
