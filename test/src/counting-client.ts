/**
 * An attach client in a process of its own, to be stopped, continued and killed: counts what comes and prints one line of JSON at
 * the end. `node counting-client.ts URL [BYTES_PER_SECOND]`
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AttachClient } from './attach.ts';

/** How often a slow client looks whether it may read on, ms. */
const TICK_MS = 50;

const [url, rate] = process.argv.slice(2);
if (url === undefined) throw new Error('usage: counting-client.ts URL [BYTES_PER_SECOND]');
const client = await AttachClient.open(url);
process.stdout.write('open\n');
const start = performance.now();
while (client.closed === undefined) {
  if (rate !== undefined) {
    const allowed = ((performance.now() - start) / 1000) * Number(rate);
    if (client.stdout.bytes > allowed) client.pause();
    else client.resume();
  }
  await sleep(TICK_MS);
}
const { stdout, status, closed, faults } = client;
process.stdout.write(
  `${JSON.stringify({ bytes: stdout.bytes, sha256: stdout.sha256(), status: status?.status, code: closed.code, faults })}\n`,
);
