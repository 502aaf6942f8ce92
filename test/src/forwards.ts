/** What a pod serves for the tests of port-forward, and what must hold through each client's forwarded ports. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { PORTS } from './port-forward.ts';
import { eventually } from './processes.ts';
import { randomSha256 } from './random.ts';
import { ask, exchange } from './tcp.ts';

/** Echo on IPv4 and on IPv6 only, by a server in the pod's network; HTTP by a container of the pod. */
export const FORWARDED = [PORTS.echo, PORTS.echo6, 8080] as const;
const DOWNLOAD_BYTES = 64 * 1024 * 1024;
const MIB = 1024 * 1024;
const CONNECTIONS = 20;

/** The container's script; it says the SHA-256 of what it serves. */
export const SERVE = [
  `mkdir /www; head -c ${DOWNLOAD_BYTES} /dev/urandom > /www/large`,
  'httpd -p 127.0.0.1:8080 -h /www',
  'until wget -q -O /dev/null http://127.0.0.1:8080/large; do sleep 0.1; done',
  'sha256sum /www/large; exec sleep 100000',
].join('\n');

/** Waits until the container serves; gives the SHA-256 of the download. */
export async function served(logFile: string): Promise<string> {
  return await eventually('the pod serves', () => /([0-9a-f]{64}) /.exec(readFileSync(logFile, 'utf8'))?.[1]);
}

/** The local port that a client has printed for each of `FORWARDED`, in that order. */
export async function localPorts(child: ChildProcess, output: () => string): Promise<number[]> {
  return await eventually(
    () => `the client forwards: ${output()}`,
    () => {
      if (child.exitCode !== null) throw new Error(`the client ended: ${output()}`);
      const found = FORWARDED.map((port) => new RegExp(`127\\.0\\.0\\.1:(\\d+) -> ${port}\\b`).exec(output())?.[1]);
      return found.every((port) => port !== undefined) ? found.map(Number) : undefined;
    },
  );
}

/** Many connections at once with half-closes both ways, both families, a large download. @param large its SHA-256 */
export async function checkForwards([echo, echo6, http]: readonly number[], large: string): Promise<void> {
  assert.ok(echo !== undefined && echo6 !== undefined && http !== undefined);
  const seeds = Array.from({ length: CONNECTIONS }, (_, seed) => seed);
  const echoed = await Promise.all(seeds.map(async (seed) => await exchange(seed % 4 === 0 ? echo6 : echo, MIB, seed)));
  assert.deepEqual(
    echoed,
    seeds.map((seed) => ({ bytes: MIB, sha256: randomSha256(MIB, seed) })),
  );
  const download = await ask(http, 'GET /large HTTP/1.0\r\n\r\n');
  const body = download.subarray(download.indexOf('\r\n\r\n') + 4);
  assert.equal(body.length, DOWNLOAD_BYTES);
  assert.equal(createHash('sha256').update(body).digest('hex'), large);
}

/** Ends a client as ctrl-C does, and waits for it. */
export async function interrupt(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGINT');
  await gone;
}
