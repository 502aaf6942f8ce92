/** What a pod serves for the tests of port-forward, and what must hold through each client's forwarded ports. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { eventually } from './processes.ts';
import { randomSha256 } from './random.ts';
import { ask, exchange } from './tcp.ts';

/** Echo; HTTP on IPv4; HTTP on IPv6 only. */
export const PORTS = [7, 8080, 8081] as const;
/** Nobody listens here. */
export const CLOSED_PORT = 9;
const DOWNLOAD_BYTES = 64 * 1024 * 1024;
const MIB = 1024 * 1024;
const CONNECTIONS = 20;
const HELLO = 'hello\n';

/** A script that serves the ports; `ready` is printed when it does. */
export const SERVE = [
  `mkdir /www; echo ${HELLO.trim()} > /www/hello; head -c ${DOWNLOAD_BYTES} /dev/urandom > /www/large`,
  'sha256sum /www/large',
  'nc -ll -p 7 -e cat & httpd -p 127.0.0.1:8080 -h /www; httpd -p [::1]:8081 -h /www',
  'until wget -q -O /dev/null http://127.0.0.1:8080/hello && wget -q -O /dev/null http://[::1]:8081/hello; do sleep 0.1; done',
  'until nc -w 1 127.0.0.1 7 < /dev/null; do sleep 0.1; done',
  'echo ready; wait',
].join('\n');

/** The local port that a client has printed for each of `PORTS`, in that order. */
export async function localPorts(child: ChildProcess, output: () => string): Promise<number[]> {
  return await eventually(
    () => `the client forwards: ${output()}`,
    () => {
      if (child.exitCode !== null) throw new Error(`the client ended: ${output()}`);
      const found = PORTS.map((port) => new RegExp(`127\\.0\\.0\\.1:(\\d+) -> ${port}\\b`).exec(output())?.[1]);
      return found.every((port) => port !== undefined) ? found.map(Number) : undefined;
    },
  );
}

/** Many connections at once with half-closes both ways, a large download, both families. @param large its SHA-256 */
export async function checkForwards([echo, http, http6]: readonly number[], large: string): Promise<void> {
  assert.ok(echo !== undefined && http !== undefined && http6 !== undefined);
  const echoed = await Promise.all(Array.from({ length: CONNECTIONS }, async (_, seed) => await exchange(echo, MIB, seed)));
  const expected = Array.from({ length: CONNECTIONS }, (_, seed) => ({ bytes: MIB, sha256: randomSha256(MIB, seed) }));
  assert.deepEqual(echoed, expected);
  const get = (path: string): string => `GET ${path} HTTP/1.0\r\n\r\n`;
  const [one, other, download] = await Promise.all([ask(http, get('/hello')), ask(http6, get('/hello')), ask(http, get('/large'))]);
  assert.ok(one.toString().endsWith(`\r\n\r\n${HELLO}`), one.toString());
  assert.ok(other.toString().endsWith(`\r\n\r\n${HELLO}`), other.toString());
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
