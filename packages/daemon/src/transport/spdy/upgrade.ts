// Judges a request for SPDY/3.1, chooses the protocol spoken over it and opens the transport.

import type { IncomingHttpHeaders } from 'node:http';
import { freshReads, sharedReads } from '../client-reads.ts';
import { SocketChannel } from '../socket-channel.ts';
import type { Accepted, AcceptedForward, Refusal, UpgradeRequest } from '../upgrade.ts';
import { SESSION_PROTOCOLS } from './session-protocols.ts';
import { FORWARD_PROTOCOL, SpdyForward } from './spdy-forward.ts';
import { SpdyTransport } from './spdy-transport.ts';

const OFFERED = 'x-stream-protocol-version';
const CHOSEN = 'X-Stream-Protocol-Version';
const SERVED = 'X-Accepted-Stream-Protocol-Versions';

/** Says whether the request becomes an attach or exec session over SPDY. */
export function judgeSpdyUpgrade(request: UpgradeRequest): Accepted | Refusal {
  const chosen = choose(request.headers, Object.keys(SESSION_PROTOCOLS));
  if (!chosen.ok) return chosen;
  const protocol = SESSION_PROTOCOLS[chosen.name];
  if (protocol === undefined) throw new Error('a protocol was chosen that is not served');
  return {
    ok: true,
    open: (socket, head, requested) => {
      const reads = sharedReads(socket, head);
      reads.socket.write(acceptance(chosen.name));
      return new SpdyTransport({ channel: new SocketChannel(reads), protocol, requested });
    },
  };
}

/** Says whether the request becomes a port-forward session over SPDY. */
export function judgeSpdyForward(request: UpgradeRequest): AcceptedForward | Refusal {
  const chosen = choose(request.headers, [FORWARD_PROTOCOL]);
  if (!chosen.ok) return chosen;
  return {
    ok: true,
    open: (socket, head) => {
      socket.write(acceptance(chosen.name));
      return new SpdyForward(new SocketChannel(freshReads(socket, head)), `SPDY/3.1 ${chosen.name}`);
    },
  };
}

/** As Kubernetes' servers: the client's order decides, the first name that is served wins. */
function choose(headers: IncomingHttpHeaders, served: readonly string[]): { readonly ok: true; readonly name: string } | Refusal {
  const offered = [headers[OFFERED] ?? []].flat().flatMap((line) => line.split(',').map((name) => name.trim()));
  if (offered.length === 0) return { ok: false, status: 400, message: `${CHOSEN} is missing` };
  const name = offered.find((each) => served.includes(each));
  if (name !== undefined) return { ok: true, name };
  const message = `none of the protocols offered is served; there are ${served.join(', ')}`;
  return { ok: false, status: 403, message, headers: { [SERVED]: served } };
}

function acceptance(name: string): string {
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n${CHOSEN}: ${name}\r\n\r\n`;
}
