/** `npm run demo`: sets up, then shows attach; at a terminal you sit in a container's init, without one a conversation is printed. */
import { root } from './setup/paths.mjs';
import { becomeProjectNode } from './setup/run.mjs';
import { orExplain } from './setup/say.mjs';
import { setUp } from './setup.mjs';

await orExplain(async () => setUp());
const interactive = process.stdin.isTTY && process.stdout.isTTY;
await becomeProjectNode([`${root}/scripts/demo/${interactive ? 'interactive' : 'conversation'}.mjs`]);
