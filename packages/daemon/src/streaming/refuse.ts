// Answers a request that does not become a session with plain HTTP, and ends its connection.

import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Refusal } from '../transport/upgrade.ts';

/** How long a refused client may take to read the answer and close; the answer is a few hundred bytes, so it is on its way at once. */
const REFUSED_LINGER_MS = 5_000;

/** Refuses on a connection that HTTP still owns. */
export function refuseRequest(response: ServerResponse, refusal: Refusal): void {
  response.writeHead(refusal.status, headersOf(refusal)).end(bodyOf(refusal));
}

/**
 * Refuses on a connection that was handed over for an upgrade: the answer, FIN, and what comes is discarded until the client closes.
 * Without content for `HEAD` (RFC 9110, section 9.3.2).
 */
export function refuseUpgrade(socket: Duplex, method: string, refusal: Refusal): void {
  const head = Object.entries(headersOf(refusal)).flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}\r\n`));
  leaveToItsEnd(socket);
  socket.end(
    `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}\r\n${head.join('')}\r\n${method === 'HEAD' ? '' : bodyOf(refusal)}`,
  );
}

/** Says nothing on a connection that was handed over for an upgrade, and that an answer to an earlier request ends. */
export function leaveToItsEnd(socket: Duplex): void {
  socket.on('error', () => socket.destroy());
  const timer = setTimeout(() => socket.destroy(), REFUSED_LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.resume();
}

function headersOf(refusal: Refusal): Record<string, string | string[]> {
  return {
    ...Object.fromEntries(
      Object.entries(refusal.headers ?? {}).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
    ),
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': String(Buffer.byteLength(bodyOf(refusal))),
    Connection: 'close',
  };
}

function bodyOf(refusal: Refusal): string {
  return `${refusal.message}\n`;
}
