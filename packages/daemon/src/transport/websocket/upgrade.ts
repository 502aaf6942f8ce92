// Judges a WebSocket upgrade request (RFC 6455, section 4.2), chooses its subprotocol and opens the transport.

import { createHash } from 'node:crypto';
import { chooseSubprotocol, SUBPROTOCOL_NAMES, type Subprotocol } from '@berth/attach-protocol';
import type { Accepted, Refusal, UpgradeRequest } from '../upgrade.ts';
import { WebSocketTransport } from './websocket-transport.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const KEY_PATTERN = /^[A-Za-z0-9+/]{22}==$/;
const VERSION = '13';

/** Says whether the request becomes a WebSocket. Extensions are never accepted: compression would cost five times the throughput. */
export function judgeWebSocketUpgrade(request: UpgradeRequest): Accepted | Refusal {
  const { headers } = request;
  if (request.method !== 'GET') return refusal(405, 'a WebSocket is opened with GET', { Allow: 'GET' });
  if (headers['sec-websocket-version'] !== VERSION) {
    return refusal(400, 'Sec-WebSocket-Version must be 13', { 'Sec-WebSocket-Version': VERSION });
  }
  const key = headers['sec-websocket-key'];
  if (key === undefined || !KEY_PATTERN.test(key)) return refusal(400, 'Sec-WebSocket-Key is missing or malformed');
  const protocol = chooseSubprotocol(offered(headers['sec-websocket-protocol']));
  if (protocol === undefined) {
    return refusal(403, `none of the subprotocols offered is served; there are ${SUBPROTOCOL_NAMES.filter(Boolean).join(', ')}`);
  }
  return {
    ok: true,
    open: (socket, head, streams) => {
      // One packet for the answer and the first message that the transport sends.
      socket.cork();
      socket.write(acceptance(key, protocol));
      const transport = new WebSocketTransport({ socket, head, protocol, streams });
      socket.uncork();
      return transport;
    },
  };
}

function acceptance(key: string, protocol: Subprotocol): string {
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64');
  // An empty Sec-WebSocket-Protocol header would make clients fail that offered none.
  const chosen = protocol.name === '' ? '' : `Sec-WebSocket-Protocol: ${protocol.name}\r\n`;
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}\r\n`;
}

function offered(header: string | undefined): string[] {
  return header === undefined ? [] : header.split(',').map((name) => name.trim());
}

function refusal(status: number, message: string, headers: Readonly<Record<string, string>> = {}): Refusal {
  return { ok: false, status, message, headers };
}
