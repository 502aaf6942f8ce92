/** Passes an upgrade on to the daemon's streaming server as it is: request line and headers, then bytes both ways. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { finished } from 'node:stream/promises';
import type { Upgrade } from './streams.ts';

/** How long a client may take to close once it has been told that nothing more comes. */
const LINGER_MS = 10_000;

/** The client's request as it goes on, with the path of the ticket; Host stays, as proxies leave it. */
export function requestHead({ request }: Pick<Upgrade, 'request'>, target: URL): string {
  const lines = [`${request.method} ${target.pathname}${target.search} HTTP/1.1`];
  for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** As Kubernetes' proxies: the session ends when either side does; what the daemon sent before is delivered. */
export async function passRaw(upgrade: Upgrade, target: URL): Promise<void> {
  const client = upgrade.socket;
  const daemon = connect(Number(target.port), target.hostname);
  daemon.setNoDelay(true);
  await once(daemon, 'connect');
  daemon.write(requestHead(upgrade, target));
  daemon.write(upgrade.head);
  // The daemon's end ends the client's connection gracefully; the client's end is the end of everything.
  daemon.pipe(client);
  client.pipe(daemon, { end: false });
  client.on('close', () => daemon.destroy());
  client.on('end', () => daemon.destroy());
  daemon.on('error', () => client.destroy());
  daemon.on('close', () => {
    client.end();
    const late = setTimeout(() => client.destroy(), LINGER_MS);
    client.on('close', () => clearTimeout(late));
  });
  await finished(daemon).catch(() => undefined);
}
