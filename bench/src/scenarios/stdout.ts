/** How fast a container's output reaches one attached client, with and without the CRI log, and the log with nobody attached. */
import { attach } from '../client/attach.ts';
import { received } from '../client/wait.ts';
import { type OutputKind, startAgent, wholeWrites } from '../fixtures/agent.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { megabytesPerSecond, now } from '../units.ts';

const BYTES = 256 * 1024 * 1024;
const TARGET = { without: 3, with: 5 };
/** Until then the rate still rises from round to round. With the log, a round of some peers takes long. */
const WARM_UPS = { without: 2, with: 1 };

const attached = (kind: OutputKind, log: boolean): Scenario => ({
  name: `stdout-${kind}${log ? '-log' : ''}`,
  title: `stdout, ${kind === 'blocks' ? '64 KiB blocks' : '80-byte lines'}, ${log ? 'with' : 'without'} the CRI log`,
  metrics: [{ of: 'rate', title: 'rate', unit: 'MB/s', atLeast: log ? TARGET.with : TARGET.without }],
  warmUps: log ? WARM_UPS.with : WARM_UPS.without,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agent = stack.use(await startAgent(bench, runtime, { log }));
    const session = stack.use(await attach(runtime, agent.containerId));
    const bytes = wholeWrites(kind, scaled(bench, BYTES));
    const owned = stack.move();
    return {
      async round() {
        const start = now();
        const [report] = await Promise.all([agent.command(`${kind} ${bytes}`), received(session, bytes)]);
        const rate = megabytesPerSecond(report.bytes, now() - start);
        if (log) await agent.verifyLog(kind, bytes);
        return { rate: [rate] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
});

const alone = (kind: OutputKind): Scenario => ({
  name: `log-${kind}`,
  title: `CRI log alone, ${kind === 'blocks' ? '64 KiB blocks' : '80-byte lines'}, nobody attached`,
  metrics: [{ of: 'rate', title: 'rate', unit: 'MB/s', atLeast: TARGET.with }],
  warmUps: WARM_UPS.with,
  async prepare(bench, runtime) {
    const agent = await startAgent(bench, runtime, { log: true });
    const bytes = wholeWrites(kind, scaled(bench, BYTES));
    return {
      async round() {
        const { start } = await agent.command(`${kind} ${bytes}`);
        const { end } = await agent.settledLog();
        await agent.verifyLog(kind, bytes);
        return { rate: [megabytesPerSecond(bytes, end - start)] };
      },
      [Symbol.asyncDispose]: async () => await agent[Symbol.asyncDispose](),
    };
  },
});

export const stdout: readonly Scenario[] = [
  attached('blocks', false),
  attached('lines', false),
  attached('blocks', true),
  attached('lines', true),
  alone('blocks'),
  alone('lines'),
];
