/** One container, many clients: how much all of them get together. */
import { attach } from '../client/attach.ts';
import type { Session } from '../client/session.ts';
import { received } from '../client/wait.ts';
import { startAgent } from '../fixtures/agent.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { MIB, megabytesPerSecond, now } from '../units.ts';

/** Of output in all, whatever the number of clients; but one client alone needs something to read, too. */
const TOTAL_BYTES = 1536 * MIB;
const MOST_BYTES = 256 * MIB;

const toMany = (clients: number): Scenario => ({
  name: `fan-out-${clients}`,
  title: `fan-out to ${clients}, all together, without a log`,
  metrics: [{ of: 'rate', title: 'aggregate', unit: 'MB/s', ...(clients === 50 ? { atLeast: 2 } : {}) }],
  warmUps: 1,
  maxRounds: 5,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agent = stack.use(await startAgent(bench, runtime));
    const sessions: Session[] = [];
    for (let i = 0; i < clients; i++) sessions.push(stack.use(await attach(runtime, agent.containerId)));
    const bytes = scaled(bench, Math.min(MOST_BYTES, Math.floor(TOTAL_BYTES / clients / MIB) * MIB));
    const owned = stack.move();
    return {
      async round() {
        const start = now();
        await Promise.all([agent.command(`blocks ${bytes}`), ...sessions.map((session) => received(session, bytes))]);
        return { rate: [megabytesPerSecond(bytes * clients, now() - start)] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
});

export const fanOut: readonly Scenario[] = [toMany(1), toMany(10), toMany(50)];
