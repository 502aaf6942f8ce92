/** `npm run build`: everything that is not built yet. */
import { setUp } from './setup.mjs';
import { orExplain, say } from './setup/say.mjs';

await orExplain(async () => {
  setUp();
  say('built: bin/berthd is the daemon, bin/berth its command line');
});
