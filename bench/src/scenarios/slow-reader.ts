/** One of several clients reads slowly or not at all: what the others get, and what it misses. */
import { setTimeout as sleep } from 'node:timers/promises';
import { attach } from '../client/attach.ts';
import type { Session } from '../client/session.ts';
import { startAgent } from '../fixtures/agent.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { MIB, megabytesPerSecond, now } from '../units.ts';

/** Far more than the sockets on the way and the runtime's own buffers hold. */
const BYTES = 256 * MIB;
const BYTES_FOR_MANY = 48 * MIB;
/** No byte for anybody during this time, while there are bytes to come: they stand still. */
const STILL_MS = 5_000;
const POLL_MS = 50;
/** The slow one reads this much, then rests until it has been a second: 1 MB/s. */
const SLOW_STEP_MS = 250;
const SLOW_STEP_BYTES = 250_000;
/** The late one gets what it has missed within this, or it does not get it. */
const CATCH_UP_MS = 120_000;

type Reader = { readonly session: Session; readonly from: number };

const gotAll = (readers: readonly Reader[], bytes: number): boolean =>
  readers.every(({ session, from }) => session.received - from >= bytes);
const gotInAll = (readers: readonly Reader[]): number =>
  readers.reduce((sum, { session, from }) => sum + session.received - from, 0);

/** Waits until each has these bytes or nobody gets any more; gives the time of the last byte. */
const until = async (readers: readonly Reader[], bytes: number, limitMs = Infinity): Promise<number> => {
  const deadline = now() + limitMs;
  for (let [last, at] = [-1, now()]; ; ) {
    const all = gotInAll(readers);
    if (all !== last) [last, at] = [all, now()];
    if (gotAll(readers, bytes) || now() - at > STILL_MS || now() > deadline) return at;
    await sleep(POLL_MS);
  }
};

/** Lets a session read 1 MB/s until it is told to stop. */
const throttle = (session: Session): (() => void) => {
  let from = session.received;
  const timer = setInterval(() => {
    from = session.received;
    session.resume();
  }, SLOW_STEP_MS);
  session.onOutput = () => {
    if (session.received - from >= SLOW_STEP_BYTES) session.pause();
  };
  return () => {
    clearInterval(timer);
    session.onOutput = () => {};
  };
};

type Slowness = { readonly clients: number; readonly how: 'stopped' | 'slow' };

const withOne = ({ clients, how }: Slowness): Scenario => ({
  name: how === 'stopped' ? `one-stopped-${clients}` : `one-slow-${clients}`,
  title: `${clients} clients with a log, one ${how === 'stopped' ? 'stops reading' : 'reads 1 MB/s'}`,
  metrics: [
    { of: 'rate', title: 'the others together (0: they stand still)', unit: 'MB/s' },
    { of: 'still', title: 'others that did not get everything', unit: 'count' },
    { of: 'missed', title: 'missed by it in the end', unit: 'MB' },
  ],
  maxRounds: 1,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agent = stack.use(await startAgent(bench, runtime, { log: true }));
    const sessions: Session[] = [];
    for (let i = 0; i < clients; i++) sessions.push(stack.use(await attach(runtime, agent.containerId)));
    const bytes = scaled(bench, clients > 2 ? BYTES_FOR_MANY : BYTES);
    const owned = stack.move();
    return {
      async round() {
        const [late, ...others] = sessions.map((session) => ({ session, from: session.received }));
        if (late === undefined) throw new Error('no sessions');
        let release = (): void => {};
        if (how === 'stopped') late.session.pause();
        else release = throttle(late.session);
        const start = now();
        const written = agent.command(`blocks ${bytes}`);
        const end = await until(others, bytes);
        const rate = megabytesPerSecond(gotInAll(others), end - start);
        const still = others.filter((reader) => !gotAll([reader], bytes)).length;
        release();
        late.session.resume();
        await until([late, ...others], bytes, CATCH_UP_MS);
        await written;
        return { rate: [still > 0 ? 0 : rate], still: [still], missed: [(bytes - gotInAll([late])) / 1e6] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
});

export const slowReader: readonly Scenario[] = [
  withOne({ clients: 2, how: 'stopped' }),
  withOne({ clients: 32, how: 'stopped' }),
  withOne({ clients: 32, how: 'slow' }),
];
