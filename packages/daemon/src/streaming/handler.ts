import type { SessionStatus, Transport } from '../transport/transport.ts';

/** What a ticket stands for. Bound to the method and the container at the RPC. */
export type AttachTicket = {
  readonly method: 'attach';
  readonly containerId: string;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
  /** Given by the issuer of the ticket, to find what it keeps for it (output since the ticket). Opaque here. */
  readonly claim: symbol;
};

/** Who connected, and what the URL asked for beside the ticket. */
export type ConnectionInfo = {
  readonly remoteAddress: string;
  /** `?from=start`: everything since the container's start, atomic with going live. */
  readonly from: 'now' | 'start';
};

/** What the streaming server needs from the rest of the daemon; `daemon.ts` supplies it. */
export interface StreamHandler {
  /** Serves one upgraded connection until it has ended. Never rejects. The ticket has been taken. */
  attach(ticket: AttachTicket, transport: Transport, info: ConnectionInfo): Promise<SessionStatus>;
  /** The ticket expired unused: what was kept for it may go. */
  drop(ticket: AttachTicket): void;
}
