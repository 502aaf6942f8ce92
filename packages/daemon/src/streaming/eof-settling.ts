/** When a session may end after its client's stdin has: `echo list | kubectl attach -i console` must still show the answer. */
import { sleep } from '../util/wait.ts';

/** Nothing produced and nothing undelivered for this long: the answer is complete. */
const QUIET_MS = 250;
/** With a terminal the end of stdin is how clients detach: they should not wait for a chatty container. */
const MOST_WITH_TTY_MS = 1_000;
/** Without one it is the end of a pipe whose reader may think for a while. */
const MOST_WITHOUT_TTY_MS = 5_000;
/** A container that does not read its input at all. */
const MOST_UNREAD_MS = 30_000;
/** Some looks within the shortest of these times, and not so many that waiting would cost anything. */
const POLL_MS = 25;
/**
 * A look that is later than this counts for no more: a daemon that was stopped for a moment, or whose machine was, has heard nothing
 * meanwhile, and its container may have had no turn either.
 */
const MOST_PER_LOOK_MS = 4 * POLL_MS;

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
    while (performance.now() - began < MOST_UNREAD_MS && (await s.unread()) > 0) await sleep(POLL_MS, s.signal);
    const most = s.tty ? MOST_WITH_TTY_MS : MOST_WITHOUT_TTY_MS;
    let [waited, quiet, lookedAt, head] = [0, 0, performance.now(), s.head()];
    while (quiet < QUIET_MS && waited < most) {
      await sleep(POLL_MS, s.signal);
      const now = performance.now();
      const since = Math.min(now - lookedAt, MOST_PER_LOOK_MS);
      lookedAt = now;
      waited += since;
      quiet = s.head() !== head || !s.delivered() ? 0 : quiet + since;
      head = s.head();
    }
    // However slowly the client reads: what has been produced by now is its answer, all of it.
    while (!s.reached(head)) await sleep(POLL_MS, s.signal);
    return true;
  } catch {
    // Aborted, or the shim is gone: then its own event ends the session.
    return false;
  }
}
