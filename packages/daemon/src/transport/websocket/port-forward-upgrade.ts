// Judges a WebSocket upgrade request for port-forward, and opens what its subprotocol stands for.

import { openTunnel, TUNNEL_PROTOCOL } from '../tunnel/open-tunnel.ts';
import type { AcceptedForward, Refusal, UpgradeRequest } from '../upgrade.ts';
import { acceptance, noCommonProtocol, readHandshake } from './handshake.ts';
import { PortForwardWebSocket } from './port-forward-transport.ts';

/** Takes over a connection whose 101 has been written. */
type OpenForward = AcceptedForward['open'];

const channels =
  (name: string, encoding: 'binary' | 'base64'): OpenForward =>
  (socket, head, ports) =>
    new PortForwardWebSocket({ socket, head, protocol: { name, encoding }, ports });

/** By subprotocol; the empty one means that the client offered none. The client's order decides, as in Kubernetes. */
const PROTOCOLS: Readonly<Record<string, OpenForward>> = {
  '': channels('', 'binary'),
  'v4.channel.k8s.io': channels('v4.channel.k8s.io', 'binary'),
  'v4.base64.channel.k8s.io': channels('v4.base64.channel.k8s.io', 'base64'),
  [TUNNEL_PROTOCOL]: openTunnel,
};

/** Says whether the request becomes a port-forward session over WebSocket. */
export function judgeWebSocketForward(request: UpgradeRequest): AcceptedForward | Refusal {
  const handshake = readHandshake(request);
  if (!handshake.ok) return handshake;
  const { key, offered } = handshake;
  const name = offered.length === 0 ? '' : offered.find((each) => each !== '' && Object.hasOwn(PROTOCOLS, each));
  const open = name === undefined ? undefined : PROTOCOLS[name];
  if (name === undefined || open === undefined) return noCommonProtocol(Object.keys(PROTOCOLS));
  return {
    ok: true,
    open: (socket, head, ports) => {
      // One packet for the answer and the first messages that the transport sends.
      socket.cork();
      socket.write(acceptance(key, name));
      const transport = open(socket, head, ports);
      socket.uncork();
      return transport;
    },
  };
}
