/** kubectl's port-forward over WebSocket: its messages are the bytes of a SPDY connection to the daemon. */
import { WebSocketServer } from 'ws';
import { SpdyConnection } from './spdy-connection.ts';
import type { Upgrade } from './streams.ts';

const TUNNEL = 'SPDY/3.1+portforward.k8s.io';
/** More than this on its way to a client holds the daemon back. */
const SEND_AHEAD_BYTES = 1024 * 1024;

/** @throws UpgradeRefused before the client is answered */
export async function tunnel({ request, socket, head }: Upgrade, target: URL): Promise<void> {
  const { socket: daemon, rest } = await SpdyConnection.upgrade(target, ['portforward.k8s.io']);
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  // The name has a slash, which is none of HTTP's tokens: the library would refuse it.
  delete request.headers['sec-websocket-protocol'];
  server.on('headers', (headers) => headers.push(`Sec-WebSocket-Protocol: ${TUNNEL}`));
  server.handleUpgrade(request, socket, head, (client) => {
    const toClient = (bytes: Buffer): void => {
      client.send(bytes, () => {
        if (client.bufferedAmount <= SEND_AHEAD_BYTES) daemon.resume();
      });
      if (client.bufferedAmount > SEND_AHEAD_BYTES) daemon.pause();
    };
    if (rest.length > 0) toClient(rest);
    daemon.on('data', toClient);
    daemon.resume();
    daemon.on('drain', () => client.resume());
    daemon.on('error', () => client.terminate());
    daemon.on('end', () => client.close(1000));
    client.on('message', (bytes: Buffer) => {
      if (!daemon.write(bytes)) client.pause();
    });
    client.on('close', () => daemon.destroy());
    client.on('error', () => daemon.destroy());
  });
}
