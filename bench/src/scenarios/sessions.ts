/** Hundreds of sessions over ten containers that chat: opening them, typing among them, and what they cost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { attach } from '../client/attach.ts';
import type { Session } from '../client/session.ts';
import { type Agent, startAgent } from '../fixtures/agent.ts';
import { cpuSeconds, pss } from '../runtimes/processes.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { KIB, now } from '../units.ts';

const CONTAINERS = 10;
/** Each container writes a line of this many bytes this often; everybody who is attached gets it. */
const CHATTER = { everyMs: 100, bytes: 80 };
/** Attaches under way at a time: what an impatient apiserver does. */
const PARALLEL = 20;
const PROBES = 100;
const PROBE_MS = 5_000;
/** Daemons tidy up behind themselves; what is left after this stays. */
const SETTLE_MS = 3_000;
const CPU_WINDOW_MS = 5_000;

/** Types one unlike word into a session and waits until it comes back among the chatter. */
const probe = async (session: Session, number: number): Promise<number> => {
  const word = `@${number.toString().padStart(7, '0')}\n`;
  const done = Promise.withResolvers<number>();
  const start = now();
  let tail = '';
  session.onOutput = (piece) => {
    tail = (tail + piece.toString('latin1')).slice(-CHATTER.bytes * 20);
    if (tail.includes(word)) done.resolve(now() - start);
  };
  const timer = setTimeout(() => done.reject(new Error(`no echo within ${PROBE_MS} ms`)), PROBE_MS);
  session.write(Buffer.from(word));
  try {
    return await done.promise;
  } finally {
    clearTimeout(timer);
    session.onOutput = () => {};
  }
};

const many = (count: number): Scenario => ({
  name: `sessions-${count}`,
  title: `${count} sessions over ${CONTAINERS} containers that write 10 lines a second`,
  metrics: [
    { of: 'open', title: 'all open after', unit: 's' },
    { of: 'echo', title: 'echo among the chatter p50', unit: 'ms' },
    { of: 'echo', title: 'echo among the chatter p99', unit: 'ms', quantile: 0.99 },
    { of: 'daemonMemory', title: 'daemon memory per session', unit: 'KiB', atMost: 1 },
    { of: 'helperMemory', title: 'shim memory per session', unit: 'KiB' },
    { of: 'daemonCpu', title: 'daemon processor', unit: '%' },
    { of: 'helperCpu', title: 'shim processor', unit: '%' },
  ],
  maxRounds: 1,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agents: Agent[] = [];
    for (let i = 0; i < CONTAINERS; i++) agents.push(stack.use(await startAgent(bench, runtime, { stdin: true })));
    const sessionCount = scaled(bench, count);
    const owned = stack.move();
    return {
      async round() {
        using sessions = new DisposableStack();
        const open: Session[] = [];
        const helpers = await runtime.helpers();
        const before = [await pss([runtime.daemon]), await pss(helpers)] as const;
        const start = now();
        let next = 0;
        const worker = async (): Promise<void> => {
          for (let i = next++; i < sessionCount; i = next++) {
            const agent = agents[i % CONTAINERS];
            if (agent !== undefined) open.push(sessions.use(await attach(runtime, agent.containerId, { stdin: true })));
          }
        };
        await Promise.all(Array.from({ length: PARALLEL }, worker));
        const opened = now() - start;
        for (const agent of agents) agent.begin(`chat ${CHATTER.everyMs} ${CHATTER.bytes}`);
        await sleep(SETTLE_MS);
        const cpu = async () => [await cpuSeconds([runtime.daemon]), await cpuSeconds(helpers), now()] as const;
        const [daemonFrom, helpersFrom, from] = await cpu();
        await sleep(CPU_WINDOW_MS);
        const [daemonTo, helpersTo, to] = await cpu();
        const after = [await pss([runtime.daemon]), await pss(helpers)] as const;
        const echo: number[] = [];
        for (let i = 0; i < scaled(bench, PROBES); i++) {
          const session = open[(i * 7) % open.length];
          if (session !== undefined) echo.push(await probe(session, i));
        }
        for (const agent of agents) agent.begin('quiet');
        const percent = (used: number): number => (used / ((to - from) / 1000)) * 100;
        return {
          open: [opened / 1000],
          echo,
          daemonMemory: [(after[0] - before[0]) / sessionCount / KIB],
          helperMemory: [(after[1] - before[1]) / sessionCount / KIB],
          daemonCpu: [percent(daemonTo - daemonFrom)],
          helperCpu: [percent(helpersTo - helpersFrom)],
        };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
});

export const sessions: readonly Scenario[] = [many(500), many(1000)];
