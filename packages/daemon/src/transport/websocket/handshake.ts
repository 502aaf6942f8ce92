// The WebSocket opening handshake (RFC 6455, section 4.2), the same for every subprotocol.

import { createHash } from 'node:crypto';
import type { Refusal, UpgradeRequest } from '../upgrade.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const KEY_PATTERN = /^[A-Za-z0-9+/]{22}==$/;
const VERSION = '13';

/** A request that is a WebSocket handshake: its key, and the subprotocols that the client offers, in its order. */
export type Handshake = { readonly ok: true; readonly key: string; readonly offered: readonly string[] };

/** Says whether the request is a handshake, whatever it offers. */
export function readHandshake({ method, headers }: UpgradeRequest): Handshake | Refusal {
  if (method !== 'GET') return refusal(405, 'a WebSocket is opened with GET', { Allow: 'GET' });
  if (headers['sec-websocket-version'] !== VERSION) {
    return refusal(400, 'Sec-WebSocket-Version must be 13', { 'Sec-WebSocket-Version': VERSION });
  }
  const key = headers['sec-websocket-key'];
  if (key === undefined || !KEY_PATTERN.test(key)) return refusal(400, 'Sec-WebSocket-Key is missing or malformed');
  return { ok: true, key, offered: offeredNames(headers['sec-websocket-protocol']) };
}

/** `served`: what there is, for the message. */
export function noCommonProtocol(served: readonly string[]): Refusal {
  return refusal(403, `none of the subprotocols offered is served; there are ${served.filter(Boolean).join(', ')}`);
}

/** The 101 for a key and the subprotocol chosen. */
export function acceptance(key: string, name: string): string {
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64');
  // An empty Sec-WebSocket-Protocol header would make clients fail that offered none.
  const chosen = name === '' ? '' : `Sec-WebSocket-Protocol: ${name}\r\n`;
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}\r\n`;
}

function offeredNames(header: string | undefined): string[] {
  return header === undefined ? [] : header.split(',').map((name) => name.trim());
}

function refusal(status: number, message: string, headers: Readonly<Record<string, string>> = {}): Refusal {
  return { ok: false, status, message, headers };
}
