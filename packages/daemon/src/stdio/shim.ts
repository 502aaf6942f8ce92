/** A container's shim as the rest of the daemon sees it; `shim-client.ts` implements it over the socket (shim/PROTOCOL.md). */
import { constants } from 'node:os';
import { settledWithin } from '../util/wait.ts';

export interface Shim {
  readonly welcome: Welcome;
  /** Settles once: with the exit record, or rejects with `ShimLost` when the connection ends without one. */
  readonly exit: Promise<ExitRecord>;
  /** Bytes that could not be written to the container's log since its start, as last told (at most a second ago). */
  readonly logBytesLost: number;
  /** The container's streams; only `stdio/` uses it. */
  readonly io: ShimIo;
  /** Sends a signal to init, or to every process of the container. A process that is gone is not an error. */
  signal(signal: number, everything?: boolean): Promise<void>;
  /** Init has ended; its exit may still be on its way behind the last of the output. */
  gone(): Promise<boolean>;
  reopenLog(): Promise<void>;
  /** Writes a partial line to the log now. */
  flush(): Promise<void>;
  /** After exit: lets the shim end. */
  leave(): Promise<void>;
  /**
   * Input that waits in the daemon goes to the shim, which keeps it, as much as it takes. Settles when the shim has it, or has not answered for a
   * second.
   */
  handOver(): Promise<void>;
  /** Drops the connection; the container goes on. */
  close(): void;
}

/** The streams of a container as its shim offers them: one subscriber, one writer. Offsets are bytes since the container's start. */
export interface ShimIo {
  /** Who gets the events; one at a time. */
  listen(listener: ShimListener | undefined): void;
  /** Asks for output from an offset on; at most `window` bytes are sent beyond the last `ack`. Replaces an earlier subscription. */
  subscribe(from: number, window: number): void;
  unsubscribe(): void;
  /** Somebody who cannot say until when keeps output that was given until now. */
  forgetOutput(): void;
  /** Everything below has been taken. */
  ack(offset: number): void;
  /** Writes to stdin; the caller keeps to the credit; the memory is its own again once the event loop goes on. */
  stdin(chunk: Uint8Array): void;
  closeStdin(): void;
  resize(columns: number, rows: number): void;
  /** Where the byte at an offset is to be found; `undefined` asks for the ring's bounds. Rejects with `ShimLost`. */
  locate(offset: number | undefined): Promise<Location>;
  /** Writes a partial line to the log now. */
  flush(): Promise<void>;
  /** Bytes that wait on their way, bytes that the container has not read, and whether stdin is open. */
  stdinState(): Promise<{ readonly queued: number; readonly unread: number; readonly state: StdinState }>;
  /** Bytes of input that are taken now. */
  readonly stdinCredit: number;
  readonly stdinOpen: boolean;
  /** `leave` waits for this promise (bounded): somebody still needs `locate`. */
  holdLeave(until: Promise<unknown>): void;
}

export type ShimListener = {
  output(stream: 1 | 2, offset: number, data: Buffer): void;
  /** Whether anybody may still look at the memory in which `output` gave the bytes from one offset up to another; absent: for ever. */
  holds?(from: number, to: number): boolean;
  gap(from: number, to: number): void;
  credit(): void;
  stdinClosed(): void;
  logLoss(bytes: number): void;
  exit(record: ExitRecord): void;
  lost(error: ShimLost): void;
};

export type Location =
  | {
      readonly kind: 'log';
      readonly first: number;
      readonly end: number;
      readonly inode: bigint;
      readonly device: bigint;
      readonly position: number;
    }
  | { readonly kind: 'ring'; readonly first: number; readonly end: number }
  | { readonly kind: 'lost'; readonly first: number; readonly end: number };

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

/** It is there and does not answer: stopped, or held up by a log's disk that hangs. What was asked stays asked. */
export class ShimSilent extends ShimLost {}

/** A shim answers at once. Generous, for loaded machines; less than callers of CRI wait. */
export const ANSWER_MS = 10_000;

/**
 * What a shim answers, for a caller who must not wait for ever.
 * @throws ShimSilent when it has not answered within `ms`
 */
export async function answered<T>(answer: Promise<T>, ms = ANSWER_MS): Promise<T> {
  if (!(await settledWithin(answer, ms))) throw new ShimSilent(`no answer within ${ms / 1000} s`);
  return await answer;
}

/** Programs besides init that a shim runs at one time: MAX_EXECS of shim/src/exec.c. */
export const MAX_PROGRAMS = 512;

/** What of a program's start has failed. */
export type ExecStep = 'notfound' | 'noexec' | 'cwd' | 'seccomp' | 'terminal' | 'system';

/** A program besides init could not be started; nothing of it is left. */
export class ExecFailed extends Error {
  override readonly name = 'ExecFailed';
  readonly step: ExecStep;
  readonly errno: number;

  constructor(step: ExecStep, errno: number) {
    super(`${step}: errno ${errno}`);
    this.step = step;
    this.errno = errno;
  }

  /** The shim runs as many as it may; it says so by an errno that no step of a start has. */
  get full(): boolean {
    return this.step === 'system' && this.errno === constants.errno.EDQUOT;
  }
}
