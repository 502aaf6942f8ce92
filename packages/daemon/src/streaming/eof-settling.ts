/** When a session may end after its client's stdin has: `echo list | kubectl attach -i console` must still show the answer. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Nothing produced and nothing undelivered for this long: the answer is complete. */
const QUIET_MS = 250;
/** With a terminal the end of stdin is how clients detach: they should not wait for a chatty container. */
const MOST_WITH_TTY_MS = 1_000;
/** Without one it is the end of a pipe whose reader may think for a while. */
const MOST_WITHOUT_TTY_MS = 5_000;
/** A container that does not read its input at all. */
const MOST_UNREAD_MS = 30_000;
const POLL_MS = 25;

export type Settling = {
  readonly tty: boolean;
  /** Bytes of input that the container has not read. */
  unread(): Promise<number>;
  /** Offset of the container's newest output. */
  head(): number;
  /** Everything that was produced has been handed to the client's transport, and it took it. */
  delivered(): boolean;
  /** Output up to this offset has been handed to the transport. */
  reached(offset: number): boolean;
  /** The session is over anyway. */
  readonly signal: AbortSignal;
};

/** Waits until the session may end with Success; false when it was over before. */
export async function settleAfterEof(s: Settling): Promise<boolean> {
  const began = performance.now();
  try {
    while (performance.now() - began < MOST_UNREAD_MS && (await s.unread()) > 0)
      await sleep(POLL_MS, undefined, { signal: s.signal });
    const read = performance.now();
    const most = s.tty ? MOST_WITH_TTY_MS : MOST_WITHOUT_TTY_MS;
    let quietSince = read;
    let head = s.head();
    while (performance.now() - quietSince < QUIET_MS && performance.now() - read < most) {
      await sleep(POLL_MS, undefined, { signal: s.signal });
      if (s.head() !== head || !s.delivered()) quietSince = performance.now();
      head = s.head();
    }
    // However slowly the client reads: what has been produced by now is its answer, all of it.
    while (!s.reached(head)) await sleep(POLL_MS, undefined, { signal: s.signal });
    return true;
  } catch {
    // Aborted, or the shim is gone: then its own event ends the session.
    return false;
  }
}
