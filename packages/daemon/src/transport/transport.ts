/**
 * The seam between a session and the wire. A session sees stdin, stdout, stderr, status and resize and cannot tell WebSocket from SPDY;
 * a transport turns bytes into these events and back and knows nothing of containers.
 */
export interface Transport {
  /** Wire name for logs and metrics: `v5.channel.k8s.io`. */
  readonly protocol: string;
  /** Begins to deliver events. Called once, before anything else. Nothing is read from the client before. */
  start(handlers: TransportHandlers): void;
  /**
   * Sends bytes of a stream; takes the chunk as it is, shares it, never changes it. Returns false when enough is queued: the caller then
   * waits for `drain`. At most OUTBOUND_HIGH_WATER bytes and one chunk are ever queued.
   */
  write(stream: OutputStream, chunk: Uint8Array): boolean;
  /** The kernel has everything that was written: the memory of chunks given before may change. */
  readonly flushed: boolean;
  /** Bytes that the client's kernel has not acknowledged: they change while a client reads, however slowly, that lets `drain` wait. */
  unsent(): Promise<number>;
  /** Stops and starts the delivery of stdin. A paused transport still answers pings within its input buffer, and sends unsolicited pongs beyond. */
  pauseInput(): void;
  resumeInput(): void;
  /**
   * Sends the status after everything written, closes gracefully, never resets over unread output. Resolves when the client has closed
   * or has been given up (see linger.ts). Idempotent.
   */
  finish(status: SessionStatus): Promise<void>;
  /** Ends the connection at once (daemon stop, evicted client). */
  destroy(): void;
}

export type OutputStream = 'stdout' | 'stderr';

export type TerminalSize = { readonly columns: number; readonly rows: number };

export type TransportHandlers = {
  /**
   * One piece of stdin. Its memory is the session's until the event loop goes on (microtasks and `process.nextTick` come before that):
   * who keeps it longer copies it.
   */
  stdin(chunk: Uint8Array): void;
  /** The client said that no more input comes (v5 CLOSE, SPDY FIN); comes at most once, after the last stdin. */
  stdinEof(): void;
  /** A size with both numbers 1 or more. */
  resize(size: TerminalSize): void;
  /** Room again after `write` returned false. */
  drain(): void;
  /** The connection is gone; nothing comes after. Not called after `finish` was called. */
  closed(reason: string): void;
};

/** How a session ended, as Kubernetes' metav1.Status says it. */
export type SessionStatus =
  | { readonly status: 'Success' }
  | {
      readonly status: 'Failure';
      readonly reason: string;
      readonly message: string;
      readonly code: number;
      readonly exitCode?: number;
    };

/** Queued in user space for one client before `write` says to wait: under the 256 KiB that may stand in front of a pong. */
export const OUTBOUND_HIGH_WATER = 128 * 1024;
