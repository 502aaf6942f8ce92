// Judges a WebSocket upgrade request for attach or exec, chooses its subprotocol and opens the transport.

import { chooseSubprotocol, SUBPROTOCOL_NAMES } from '@berth/attach-protocol';
import type { Accepted, Refusal, UpgradeRequest } from '../upgrade.ts';
import { sharedReads } from '../client-reads.ts';
import { acceptance, noCommonProtocol, readHandshake } from './handshake.ts';
import { WebSocketTransport } from './websocket-transport.ts';

/** Says whether the request becomes a WebSocket. Extensions are never accepted: compression would cost five times the throughput. */
export function judgeWebSocketUpgrade(request: UpgradeRequest): Accepted | Refusal {
  const handshake = readHandshake(request);
  if (!handshake.ok) return handshake;
  const protocol = chooseSubprotocol(handshake.offered);
  if (protocol === undefined) return noCommonProtocol(SUBPROTOCOL_NAMES);
  return {
    ok: true,
    open: (socket, head, streams) => {
      const reads = sharedReads(socket, head);
      // One packet for the answer and the first message that the transport sends.
      reads.socket.cork();
      reads.socket.write(acceptance(handshake.key, protocol.name));
      const transport = new WebSocketTransport({ reads, protocol, streams });
      reads.socket.uncork();
      return transport;
    },
  };
}
