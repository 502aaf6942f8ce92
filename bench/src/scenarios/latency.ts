/** What a person at the other end feels: how long attaching takes, and how long one echo. */
import { setTimeout as sleep } from 'node:timers/promises';
import { attach, attachUrl } from '../client/attach.ts';
import { Session } from '../client/session.ts';
import { received } from '../client/wait.ts';
import { startContainer, startPod } from '../fixtures/pods.ts';
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { KIB, now } from '../units.ts';

const ATTACHES = 40;
/** Node compiles a function once it has been called some 400 times; runtimes run for weeks. */
const ATTACH_WARM_UPS = 12;
const ECHOES = 300;
/** An echo that has not come by then went to nobody: the runtime said that it is attached before it was. */
const LOST_MS = 500;
/** Between two attaches, so that the end of one is not measured with the beginning of the next. */
const REST_MS = 5;
/** A terminal in its usual mode echoes at once but hands lines on; a short one per message keeps its buffer empty. */
const TTY_PROBE = Buffer.from('x');
const PIPE_PROBE = Buffer.from('x');

/** What an attach took, in milliseconds: its two parts, and all until the echo, which is undefined for a lost one. */
type Parts = { readonly rpc: number; readonly open: number; readonly echo: number | undefined };

const firstEcho = async (runtime: RuntimeUnderTest, containerId: string, tty: boolean): Promise<Parts> => {
  const start = now();
  const url = await attachUrl(runtime, containerId, { stdin: true, tty });
  const rpc = now() - start;
  using session = await Session.open(url);
  const open = now() - start;
  const echo = Promise.withResolvers<number | undefined>();
  session.onOutput = () => echo.resolve(now() - start);
  const timer = setTimeout(() => echo.resolve(undefined), LOST_MS);
  session.write(tty ? TTY_PROBE : PIPE_PROBE);
  const took = await echo.promise;
  clearTimeout(timer);
  return { rpc, open: open - rpc, echo: took };
};

/** Attaches again and again to one container that runs `cat`. */
const attachLatency = (tty: boolean): Scenario => ({
  name: tty ? 'attach-tty' : 'attach',
  title: `attach: RPC, handshake and first echoed byte, ${tty ? 'tty' : 'no tty'}`,
  metrics: [
    { of: 'echo', title: 'p50', unit: 'ms', atMost: 0.5 },
    { of: 'echo', title: 'p99', unit: 'ms', quantile: 0.99 },
    { of: 'rpc', title: 'of it the RPC, p50', unit: 'ms' },
    { of: 'open', title: 'of it connection and handshake, p50', unit: 'ms' },
    { of: 'lost', title: 'first echoes lost, of each 40', unit: 'count' },
  ],
  warmUps: ATTACH_WARM_UPS,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await startPod(runtime));
    const containerId = await startContainer(runtime, pod, { command: ['cat'], stdin: true, tty });
    const owned = stack.move();
    return {
      async round() {
        const [echo, rpc, open]: [number[], number[], number[]] = [[], [], []];
        const count = scaled(bench, ATTACHES);
        for (let i = 0; i < count; i++) {
          const parts = await firstEcho(runtime, containerId, tty);
          rpc.push(parts.rpc);
          open.push(parts.open);
          if (parts.echo !== undefined) echo.push(parts.echo);
          await sleep(REST_MS);
        }
        return { echo, rpc, open, lost: [count - echo.length] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
});

const roundTrips = async (session: Session, probe: Buffer, count: number): Promise<readonly number[]> => {
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = now();
    const echo = received(session, probe.length);
    session.write(probe);
    await echo;
    took.push(now() - start);
  }
  return took;
};

const echo: Scenario = {
  name: 'echo',
  title: 'echo round trip through `cat`, no tty',
  metrics: [
    { of: 'one', title: '1 B p50', unit: 'ms', atMost: 1 },
    { of: 'one', title: '1 B p99', unit: 'ms', quantile: 0.99 },
    { of: 'kilo', title: '1 KiB p50', unit: 'ms', atMost: 1 },
    { of: 'kilo', title: '1 KiB p99', unit: 'ms', quantile: 0.99 },
  ],
  warmUps: 1,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await startPod(runtime));
    const containerId = await startContainer(runtime, pod, { command: ['cat'], stdin: true });
    const session = stack.use(await attach(runtime, containerId, { stdin: true }));
    // The first echo may be lost where attaching is not yet complete when it says so.
    await sleep(LOST_MS);
    const owned = stack.move();
    return {
      round: async () => ({
        one: await roundTrips(session, Buffer.alloc(1, 'x'), scaled(bench, ECHOES)),
        kilo: await roundTrips(session, Buffer.alloc(KIB, 'x'), scaled(bench, ECHOES)),
      }),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
};

export const latency: readonly Scenario[] = [attachLatency(true), attachLatency(false), echo];
