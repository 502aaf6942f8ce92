/** What is counted of one session: plain numbers, added to on the data path and read by whoever asks. */
import type { SessionStatus } from '../transport/transport.ts';

/** How long a client whose session is killed has for the status; one that takes nothing is cut off then. */
export const KILL_GRACE_MS = 2_000;

export class SessionMeter {
  /** Bytes that the client has sent to stdin, or into forwarded connections, as far as the session has got them. */
  input = 0;
  /** Bytes that have been handed to the client's connection; one that breaks may have delivered less. */
  stdout = 0;
  stderr = 0;
  /** The same of forwarded connections. */
  forwarded = 0;
  /** Forwarded connections so far. */
  connections = 0;
  /** When the first byte was handed to the client's connection, `performance.now()`; 0: not yet. */
  firstOutputAt = 0;
  /** Why the client's connection ended, where it ended by itself. */
  lost: string | undefined;
  /** What the client was told at the end. */
  told: SessionStatus | undefined;
  /** Ended by the daemon without a word. */
  destroyed = false;
  /** Who had it killed. */
  killedBy: string | undefined;

  get output(): number {
    return this.stdout + this.stderr + this.forwarded;
  }
}

/** A session's connection that can be ended from outside. */
export type Killable = {
  /** Ends the session: the client is told so, for the session it has gone. One that takes nothing is cut off after KILL_GRACE_MS. */
  kill(by: string): void;
};

/** What the client of a killed session is told. */
export const killedMessage = (by: string): string => `the session was ended by ${by}`;
