import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { SessionStatus, Transport } from '../transport/transport.ts';

/** What a ticket stands for. Bound to the method and its container or pod at the RPC. */
export type Ticket = AttachTicket | ExecTicket | PortForwardTicket;

/** The kinds of sessions, as they stand in URLs. */
export type SessionKind = Ticket['method'];

type StreamsTicket = {
  readonly containerId: string;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
};

export type AttachTicket = StreamsTicket & {
  readonly method: 'attach';
  /** Given by the issuer of the ticket, to find what it keeps for it (output since the ticket). Opaque here. */
  readonly claim: symbol;
};

export type ExecTicket = StreamsTicket & {
  readonly method: 'exec';
  readonly command: readonly string[];
};

export type PortForwardTicket = {
  readonly method: 'portforward';
  readonly podId: string;
  /** What people call the pod; taken down at the RPC, since a pod that has been stopped meanwhile is not found any more. */
  readonly names?: { readonly podName: string; readonly podNamespace: string };
  /** Ports that the RPC named; empty: whatever the client asks for. */
  readonly ports: readonly number[];
};

/** Who connected, and what the URL asked for beside the ticket. */
export type ConnectionInfo = {
  readonly remoteAddress: string;
  /** `?from=start`: everything since the container's start, atomic with going live. Attach only. */
  readonly from: 'now' | 'start';
  /** A session whose client can be behind its container says here how far, bytes, can be asked. */
  lagIs?(lag: () => number): void;
};

/** How a session ended: what its client was told, or would have been, and why in a few words, for the log. */
export type SessionEnd = { readonly status: SessionStatus; readonly cause: string };

/** What the streaming server needs from the rest of the daemon; `daemon.ts` supplies it. Each serves one upgraded connection until it has ended and never rejects; the ticket has been taken. */
export interface StreamHandler {
  attach(ticket: AttachTicket, transport: Transport, info: ConnectionInfo): Promise<SessionEnd>;
  exec(ticket: ExecTicket, transport: Transport, info: ConnectionInfo): Promise<SessionEnd>;
  portForward(ticket: PortForwardTicket, transport: PortForwardTransport, info: ConnectionInfo): Promise<SessionEnd>;
  /** The ticket expired unused: what was kept for it may go. */
  drop(ticket: Ticket): void;
}

/** The container or pod that a ticket is for: what sessions are counted by. */
export function targetOf(ticket: Ticket): string {
  return ticket.method === 'portforward' ? ticket.podId : ticket.containerId;
}
