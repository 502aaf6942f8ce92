/**
 * `npm test [-- SUITE... | FILE...]`: sets up, then runs every test, unit and real containers alike, suite by suite with its time.
 * The last line counts what ran; the status is non-zero when anything failed.
 */
import { clients } from './ci/clients.mjs';
import { orExplain } from './setup/say.mjs';
import { becomeProjectNode } from './setup/run.mjs';
import { root } from './setup/paths.mjs';
import { setUp } from './setup.mjs';

const chosen = process.argv.slice(2);
/** Real clients are brought only where tests with them are asked for: the suite by its name, or a file of it. */
let brought = {};
await orExplain(async () => {
  setUp();
  if (chosen.some((word) => word.includes('interop'))) brought = await clients();
});
await becomeProjectNode([`${root}/scripts/test/run-suites.mjs`, ...chosen], { ...process.env, ...brought });
