import type { Duplex } from 'node:stream';

/**
 * The seam between a port-forward session and the wire: a transport brings connections that the client wants to a port, and knows nothing
 * of pods. Each is a pair on the wire: bytes both ways, and a one-way stream for an error.
 */
export interface PortForwardTransport {
  /** Wire name for logs and metrics: `SPDY/3.1 portforward.k8s.io`. */
  readonly protocol: string;
  /** Begins to deliver events. Called once, before anything else. Nothing is read from the client before. */
  start(handlers: PortForwardHandlers): void;
  /** Ends gracefully: nothing more is accepted, what is queued is delivered, never a reset over it. Resolves when the connection is gone. Idempotent. */
  finish(): Promise<void>;
  /** Ends the connection at once. */
  destroy(): void;
}

export type PortForwardHandlers = {
  /** The client wants a connection to a port; the handler takes it from here on. */
  connection(connection: ForwardedConnection): void;
  /** The client's connection is gone, and with it every forwarded one (their `data` is destroyed); nothing comes after. Not called after `finish`. */
  closed(reason: string): void;
};

/** One forwarded connection. */
export type ForwardedConnection = {
  /** 1 to 65535. */
  readonly port: number;
  /**
   * Bytes both ways, half-open: its readable side ends when the client has ended its half, `end()` ends ours, `destroy()` resets the
   * connection on the wire. Back-pressure both ways by the rules of Node's streams; a transport that cannot hold back one connection
   * alone (SPDY without flow control) bounds what it queues for it and then holds back the client.
   */
  readonly data: Duplex;
  /**
   * Reports on the error stream why the connection cannot be served, in one sentence, and ends both streams. Without it the error stream
   * is ended empty, with the data: that is success.
   */
  fail(message: string): void;
};
