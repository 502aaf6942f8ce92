/** Who is at the other end of a connection, as far as the connection itself tells. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

export type Peer = {
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Subject of the certificate that the client has shown and that has been verified: `O=ops, CN=kubelet`. */
  readonly clientCertificate?: string;
};

/** Subjects are short; a client with a certificate of its own making must not fill the log. */
const MAX_SUBJECT_CHARS = 256;

/** Asked while the connection is open. */
export function peerOf(socket: Socket): Peer {
  const subject = socket instanceof TLSSocket && socket.authorized ? subjectOf(socket) : undefined;
  return {
    remoteAddress: socket.remoteAddress ?? '',
    remotePort: socket.remotePort ?? 0,
    ...(subject === undefined ? {} : { clientCertificate: subject }),
  };
}

function subjectOf(socket: TLSSocket): string | undefined {
  // Without a certificate, and once the connection is closed, there is no subject, whatever the types say.
  const subject = (socket.getPeerCertificate() as { subject?: object } | undefined)?.subject;
  if (subject === undefined) return undefined;
  const parts = Object.entries(subject).map(([name, value]) => `${name}=${String(value)}`);
  return parts.join(', ').slice(0, MAX_SUBJECT_CHARS);
}

/** `127.0.0.1:4711`, `[::1]:4711` */
export const remoteOf = ({ remoteAddress, remotePort }: Peer): string =>
  `${remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
