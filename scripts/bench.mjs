/** `npm run bench [-- --peer SOCKET] [--json FILE] [--only NAME]`: sets up, then measures over real containers. */
import { root } from './setup/paths.mjs';
import { becomeProjectNode } from './setup/run.mjs';
import { orExplain } from './setup/say.mjs';
import { setUp } from './setup.mjs';

await orExplain(async () => setUp());
await becomeProjectNode(['--conditions=source', `${root}/bench/src/main.ts`, ...process.argv.slice(2)]);
