/** The daemon's view of a shim in tests: no socket, no process; the fake runtime plays the container. */
import type { ExitRecord, Shim, ShimIo, Welcome } from '../stdio/shim.ts';

/** What a fake shim does to its container. */
export type FakeShimTarget = {
  signal(signal: number, everything: boolean): void;
  left(): void;
};

const unusable = (): never => {
  throw new Error('the fake shim has no streams');
};

/** Streams are not part of it: `stdio/` has a model of its own. */
const NO_IO: ShimIo = {
  listen: () => {},
  subscribe: unusable,
  unsubscribe: () => {},
  forgetOutput: () => {},
  ack: unusable,
  stdin: unusable,
  closeStdin: unusable,
  resize: unusable,
  locate: unusable,
  stdinState: unusable,
  stdinCredit: 0,
  stdinOpen: false,
  holdLeave: () => {},
  flush: async () => {},
};

/** A container that runs and has written nothing. */
export const WELCOME = {
  shimPid: 1,
  initPid: 2,
  state: 'running',
  tty: false,
  stdin: 'none',
  hasLog: false,
  first: 0n,
  next: 0n,
  startedAtNs: 1n,
  logBytesLost: 0n,
  logLosses: 0n,
  stdinCredit: 0,
} as const;

export class FakeShim implements Shim {
  readonly welcome: Welcome;
  readonly exit: Promise<ExitRecord>;
  readonly io = NO_IO;
  logBytesLost = 0;
  reopened = 0;
  closed = false;
  readonly #exit = Promise.withResolvers<ExitRecord>();
  readonly #target: FakeShimTarget;

  constructor(welcome: Welcome, target: FakeShimTarget) {
    this.welcome = welcome;
    this.#target = target;
    this.exit = this.#exit.promise;
    this.exit.catch(() => {});
  }

  async signal(signal: number, everything = false): Promise<void> {
    this.#target.signal(signal, everything);
  }

  async gone(): Promise<boolean> {
    return false;
  }

  async reopenLog(): Promise<void> {
    this.reopened++;
  }

  async flush(): Promise<void> {}

  async leave(): Promise<void> {
    this.#target.left();
  }

  async handOver(): Promise<void> {}

  close(): void {
    this.closed = true;
  }

  /** The container has ended. */
  tellExit(record: ExitRecord): void {
    this.#exit.resolve(record);
  }

  /** The connection has broken. */
  lose(error: Error): void {
    this.#exit.reject(error);
  }
}
