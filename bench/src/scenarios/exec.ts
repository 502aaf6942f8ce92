/** Programs besides init: ExecSync one after the other and many at once, and Exec with a client on its streams. */
import { execUrl } from '../client/attach.ts';
import { Session } from '../client/session.ts';
import { ended, received } from '../client/wait.ts';
import { startContainer, startPod } from '../fixtures/pods.ts';
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { type Prepared, type Scenario, type Samples, scaled } from '../scenario.ts';
import { KIB, MIB, now } from '../units.ts';

const SERIAL = 30;
const AT_ONCE = 50;
const STREAMED_BYTES = 256 * MIB;
const EXEC_SYNC_TIMEOUT_S = 60n;

/** One container that sleeps, for the time of the scenario. */
const inContainer =
  (round: (runtime: RuntimeUnderTest, containerId: string, scale: (amount: number) => number) => Promise<Samples>) =>
  async (bench: Parameters<Scenario['prepare']>[0], runtime: RuntimeUnderTest): Promise<Prepared> => {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await startPod(runtime));
    const containerId = await startContainer(runtime, pod, { command: ['sleep', '100000'] });
    const owned = stack.move();
    return {
      round: async () => await round(runtime, containerId, (amount) => scaled(bench, amount)),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  };

const execTrue = async ({ client }: RuntimeUnderTest, containerId: string): Promise<void> => {
  const { exitCode } = await client.runtime.execSync({ containerId, cmd: ['true'], timeout: EXEC_SYNC_TIMEOUT_S });
  if (exitCode !== 0) throw new Error(`true ended with ${exitCode}`);
};

const execSync: Scenario = {
  name: 'exec-sync',
  title: 'ExecSync of `true`',
  metrics: [
    { of: 'serial', title: 'one after the other p50', unit: 'ms', atMost: 0.25 },
    { of: 'serial', title: 'one after the other p99', unit: 'ms', quantile: 0.99 },
    { of: 'all', title: `${AT_ONCE} at once, all answered after`, unit: 'ms', atMost: 0.25 },
  ],
  warmUps: 1,
  prepare: inContainer(async (runtime, containerId, scale) => {
    const serial: number[] = [];
    for (let i = 0; i < scale(SERIAL); i++) {
      const begin = now();
      await execTrue(runtime, containerId);
      serial.push(now() - begin);
    }
    const begin = now();
    await Promise.all(Array.from({ length: scale(AT_ONCE) }, () => execTrue(runtime, containerId)));
    return { serial, all: [now() - begin] };
  }),
};

const exec: Scenario = {
  name: 'exec',
  title: 'Exec over WebSocket',
  metrics: [
    { of: 'echo', title: 'RPC, handshake and first echoed byte, p50', unit: 'ms' },
    { of: 'stdout', title: 'stdout of `dd bs=64k`', unit: 'MB/s', atLeast: 1 },
  ],
  warmUps: 1,
  prepare: inContainer(async (runtime, containerId, scale) => {
    const echo: number[] = [];
    for (let i = 0; i < scale(SERIAL); i++) {
      const begin = now();
      using session = await Session.open(await execUrl(runtime, containerId, ['cat'], { stdin: true }));
      const answer = received(session, 1);
      session.write(Buffer.from('x'));
      await answer;
      echo.push(now() - begin);
    }
    const bytes = scale(STREAMED_BYTES);
    const command = ['dd', 'if=/dev/zero', `bs=${64 * KIB}`, `count=${bytes / (64 * KIB)}`];
    const begin = now();
    using session = await Session.open(await execUrl(runtime, containerId, command, { stdin: false }));
    await ended(session, bytes);
    return { echo, stdout: [bytes / 1e6 / ((now() - begin) / 1000)] };
  }),
};

export const execs: readonly Scenario[] = [execSync, exec];
