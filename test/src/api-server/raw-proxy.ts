/** Passes an upgrade on to the daemon's streaming server as it is: request line and headers, then bytes both ways. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { finished } from 'node:stream/promises';
import type { Upgrade } from './streams.ts';

const NOTHING = Buffer.alloc(0);

/** The client's request as it goes on, with the path of the ticket; Host stays, as proxies leave it. */
export function requestHead({ request }: Pick<Upgrade, 'request'>, target: URL): string {
  const lines = [`${request.method} ${target.pathname}${target.search} HTTP/1.1`];
  for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/**
 * As Kubernetes' proxies (apimachinery's UpgradeAwareHandler): bytes are copied both ways, and as soon as either copy ends both
 * connections are closed, whole and at once. What the client sends after that, or has sent and was not read, makes its kernel's answer a
 * reset: a daemon that ends before its client has read everything loses the client's tail.
 */
export async function passRaw(upgrade: Upgrade, target: URL): Promise<void> {
  const client = upgrade.socket;
  const daemon = connect(Number(target.port), target.hostname);
  daemon.setNoDelay(true);
  await once(daemon, 'connect');
  daemon.write(requestHead(upgrade, target));
  daemon.write(upgrade.head);
  const over = (): void => {
    daemon.destroy();
    client.destroy();
  };
  daemon.pipe(client, { end: false });
  client.pipe(daemon, { end: false });
  // A copy has ended when the last byte that was read is in the other side's kernel.
  daemon.on('end', () => client.write(NOTHING, over));
  client.on('end', () => daemon.write(NOTHING, over));
  for (const side of [daemon, client]) side.on('error', over).on('close', over);
  await finished(daemon).catch(() => undefined);
}
