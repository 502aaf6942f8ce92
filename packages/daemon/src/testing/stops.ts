/** For tests of a process that may be stopped at any moment, by its debugger or its machine. */
import { setTimeout as sleep } from 'node:timers/promises';

const TICK_MS = 10;

/** What a stop does to a process: nothing has a turn, and the clock goes on. */
export function noTurnFor(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

/** Waits until a number has stayed the same for 300 ms and more, in short sleeps: whoever changes it has had its turns in between. */
export async function unchanged(read: () => number): Promise<number> {
  let last = read();
  for (let same = 0; same < 30; ) {
    await sleep(TICK_MS);
    const now = read();
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** How long something took, ms, a stop of the whole process counted as a tick: what would wait for a timer is seen all the same. */
export async function awakeMs(work: () => Promise<unknown>): Promise<number> {
  let ticks = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, TICK_MS);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return ticks * TICK_MS;
}
