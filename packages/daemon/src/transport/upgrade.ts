// The seam between the streaming server and the transports: how an HTTP request becomes a connection of one of them.

import type { Buffer } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { Transport } from './transport.ts';

/** The part of an HTTP request that decides. */
export type UpgradeRequest = { readonly method: string; readonly headers: IncomingHttpHeaders };

/** The streams that the client asked for; nothing else is sent or taken. */
export type RequestedStreams = { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean };

/** The HTTP answer to a request that does not become a connection; the connection is closed after it. */
export type Refusal = {
  readonly ok: false;
  readonly status: number;
  /** One sentence, sent as plain text. */
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** The request is good: `open` answers 101 and takes the socket over, with what came behind the request (`head`). */
export type Accepted = {
  readonly ok: true;
  open(socket: Socket, head: Buffer, streams: RequestedStreams): Transport;
};

/** Judges a request without touching its connection. */
export type JudgeUpgrade = (request: UpgradeRequest) => Accepted | Refusal;
