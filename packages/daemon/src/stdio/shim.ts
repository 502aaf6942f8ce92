/** A container's shim as the rest of the daemon sees it; `shim-client.ts` implements it over the socket (shim/PROTOCOL.md). */
export interface Shim {
  readonly welcome: Welcome;
  /** Settles once: with the exit record, or rejects with `ShimLost` when the connection ends without one. */
  readonly exit: Promise<ExitRecord>;
  /** Sends a signal to init, or to every process of the container. A process that is gone is not an error. */
  signal(signal: number, everything?: boolean): Promise<void>;
  reopenLog(): Promise<void>;
  /** Writes a partial line to the log now. */
  flush(): Promise<void>;
  /** After exit: lets the shim end. */
  leave(): Promise<void>;
  /** Drops the connection; the container goes on. */
  close(): void;
}

export type Welcome = {
  readonly shimPid: number;
  readonly initPid: number;
  readonly state: 'running' | 'exited';
  readonly tty: boolean;
  readonly stdin: StdinState;
  readonly hasLog: boolean;
  /** First offset that the ring holds. */
  readonly first: bigint;
  /** Offset of the next byte. */
  readonly next: bigint;
  readonly startedAtNs: bigint;
  readonly logBytesLost: bigint;
  readonly logLosses: bigint;
  readonly stdinCredit: number;
};

export type StdinState = 'none' | 'open' | 'closed';

export type ExitRecord = {
  readonly kind: 'exited' | 'signaled' | 'unknown';
  /** 0-255; 128 + signal; 255 when unknown. */
  readonly code: number;
  readonly signal: number;
  readonly oom: boolean;
  /** Bytes that the container has written in all. */
  readonly offset: bigint;
  readonly startedAtNs: bigint;
  readonly finishedAtNs: bigint;
  /** False: output was still coming when the drain time was over. */
  readonly drained: boolean;
  readonly reason: string;
};

/** The connection to a shim ended without an exit record. */
export class ShimLost extends Error {
  override readonly name = 'ShimLost';
}
