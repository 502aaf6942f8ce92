// The seam between the streaming server and the transports: how an HTTP request becomes a connection of one of them.

import type { Buffer } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { PortForwardTransport } from './port-forward.ts';
import type { Transport } from './transport.ts';

/** The part of an HTTP request that decides. */
export type UpgradeRequest = { readonly method: string; readonly headers: IncomingHttpHeaders };

/** The streams that the client asked for; nothing else is sent or taken. With a terminal (`tty`), what comes is all stdout. */
export type RequestedStreams = {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
};

/** The HTTP answer to a request that does not become a connection; the connection is closed after it. */
export type Refusal = {
  readonly ok: false;
  readonly status: number;
  /** One sentence, sent as plain text. */
  readonly message: string;
  /** Of several values, each is a header line of its own. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
};

/** The request for a session of stdin, stdout and stderr (attach, exec) is good: `open` answers 101 and takes the socket over, with what came behind the request (`head`). */
export type Accepted = {
  readonly ok: true;
  open(socket: Socket, head: Buffer, streams: RequestedStreams): Transport;
};

/** The same for a port-forward session; `ports` are those of the RPC, for protocols that cannot name any on the wire. */
export type AcceptedForward = {
  readonly ok: true;
  open(socket: Socket, head: Buffer, ports: readonly number[]): PortForwardTransport;
};

/** Judges a request for attach or exec without touching its connection. */
export type JudgeUpgrade = (request: UpgradeRequest) => Accepted | Refusal;

/** Judges a request for port-forward without touching its connection. */
export type JudgeForwardUpgrade = (request: UpgradeRequest) => AcceptedForward | Refusal;
