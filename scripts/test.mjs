/**
 * `npm test [-- SUITE... | FILE...]`: sets up, then runs every test, unit and real containers alike, suite by suite with its time.
 * The last line counts what ran; the status is non-zero when anything failed.
 */
import { orExplain } from './setup/say.mjs';
import { becomeProjectNode } from './setup/run.mjs';
import { root } from './setup/paths.mjs';
import { setUp } from './setup.mjs';

await orExplain(async () => setUp());
await becomeProjectNode([`${root}/scripts/test/run-suites.mjs`, ...process.argv.slice(2)]);
