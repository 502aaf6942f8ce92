/** A port of a pod from outside: how long a new connection takes, one echo on it, and how fast bytes go each way. */
import { CHANNEL } from '@berth/attach-protocol';
import { message } from '../client/frame-writer.ts';
import { Session } from '../client/session.ts';
import { received } from '../client/wait.ts';
import { startAgent } from '../fixtures/agent.ts';
import type { RuntimeUnderTest } from '../runtimes/runtime.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { KIB, MIB, megabytesPerSecond, now } from '../units.ts';

const CONNECTIONS = 100;
const ECHOES = 300;
const BYTES = 256 * MIB;
/** What comes first: the port, on the data and on the error channel. */
const PREAMBLE_BYTES = 4;
const MESSAGE_BYTES = 32 * KIB;
/** Messages made beforehand and sent in one write, so that the client costs little. */
const MESSAGES_PER_WRITE = 32;
/** The only port's data has the number that stdin has in an attach session. */
const FRAMES = Buffer.concat(Array<Buffer>(MESSAGES_PER_WRITE).fill(message(CHANNEL.stdin, Buffer.alloc(MESSAGE_BYTES, 'i'))));

/** What a connection to the agent's server begins with. */
const request = (letter: 'e' | 's' | 'k', bytes: number, more = ''): Buffer => {
  const head = Buffer.alloc(9, letter);
  head.writeBigUInt64LE(BigInt(bytes), 1);
  return Buffer.concat([head, Buffer.from(more)]);
};

/** The call and the connection, with the preamble read. */
const connect = async ({ client }: RuntimeUnderTest, podSandboxId: string, port: number): Promise<Session> => {
  const { url } = await client.runtime.portForward({ podSandboxId, port: [port] });
  const session = await Session.open(url);
  await received(session, PREAMBLE_BYTES - session.received);
  return session;
};

const firstEcho = async (runtime: RuntimeUnderTest, podId: string, port: number): Promise<number> => {
  const start = now();
  using session = await connect(runtime, podId, port);
  const echo = received(session, 1);
  session.write(request('e', 0, 'x'));
  await echo;
  return now() - start;
};

const echoes = async (session: Session, count: number): Promise<readonly number[]> => {
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = now();
    const echo = received(session, 1);
    session.write(Buffer.from('x'));
    await echo;
    took.push(now() - start);
  }
  return took;
};

export const portForward: Scenario = {
  name: 'port-forward',
  title: 'port-forward over WebSocket channels to a server in a pod',
  metrics: [
    { of: 'first', title: 'RPC, handshake, connection and first echoed byte, p50', unit: 'ms', atMost: 1 },
    { of: 'first', title: 'p99', unit: 'ms', quantile: 0.99 },
    { of: 'echo', title: '1 B p50', unit: 'ms', atMost: 1 },
    { of: 'down', title: 'from the pod', unit: 'MB/s', atLeast: 2 },
    { of: 'up', title: 'into the pod', unit: 'MB/s', atLeast: 2 },
  ],
  warmUps: 1,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agent = stack.use(await startAgent(bench, runtime));
    const { bytes: port } = await agent.command('listen 0');
    const step = MESSAGE_BYTES * MESSAGES_PER_WRITE;
    const bytes = Math.ceil(scaled(bench, BYTES) / step) * step;
    const owned = stack.move();

    const down = async (): Promise<number> => {
      using session = await connect(runtime, agent.podId, port);
      const all = received(session, bytes);
      const start = now();
      session.write(request('s', bytes));
      await all;
      return megabytesPerSecond(bytes, now() - start);
    };
    const up = async (): Promise<number> => {
      using session = await connect(runtime, agent.podId, port);
      const taken = received(session, 1);
      const start = now();
      session.write(request('k', bytes));
      for (let sent = 0; sent < bytes; sent += step) {
        if (!session.writeFrames(FRAMES)) await session.drained();
      }
      await taken;
      return megabytesPerSecond(bytes, now() - start);
    };
    return {
      async round() {
        const first: number[] = [];
        for (let i = 0; i < scaled(bench, CONNECTIONS); i++) first.push(await firstEcho(runtime, agent.podId, port));
        using session = await connect(runtime, agent.podId, port);
        session.write(request('e', 0));
        return { first, echo: await echoes(session, scaled(bench, ECHOES)), down: [await down()], up: [await up()] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
};
