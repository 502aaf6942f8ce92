// Port-forward over SPDY over a WebSocket: what kubectl, crictl and apiserver speak where SPDY alone does not pass.

import { freshReads } from '../client-reads.ts';
import { SocketChannel } from '../socket-channel.ts';
import { FORWARD_PROTOCOL, SpdyForward } from '../spdy/spdy-forward.ts';
import type { AcceptedForward } from '../upgrade.ts';
import { TunnelChannel } from './tunnel-channel.ts';

/** The WebSocket subprotocol: what is tunnelled, and what is spoken in it (KEP-4006). */
export const TUNNEL_PROTOCOL = `SPDY/3.1+${FORWARD_PROTOCOL}`;

/** Takes over a connection whose 101 has been written. */
export const openTunnel: AcceptedForward['open'] = (socket, head) =>
  new SpdyForward(new TunnelChannel(new SocketChannel(freshReads(socket, head))), TUNNEL_PROTOCOL);
