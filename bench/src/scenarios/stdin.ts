/** How fast input gets from a client into a container. */
import { CHANNEL } from '@berth/attach-protocol';
import { attach } from '../client/attach.ts';
import { message } from '../client/frame-writer.ts';
import { startAgent } from '../fixtures/agent.ts';
import { type Scenario, scaled } from '../scenario.ts';
import { KIB, MIB, megabytesPerSecond, now } from '../units.ts';

const BYTES = 256 * MIB;
/** What kubectl puts into one message. */
const MESSAGE_BYTES = 32 * KIB;
/** Messages made beforehand and sent in one write, so that the client costs little. */
const MESSAGES_PER_WRITE = 32;
const FRAMES = Buffer.concat(Array<Buffer>(MESSAGES_PER_WRITE).fill(message(CHANNEL.stdin, Buffer.alloc(MESSAGE_BYTES, 'i'))));

export const stdin: Scenario = {
  name: 'stdin',
  title: 'stdin, 32 KiB messages into a container that counts',
  metrics: [{ of: 'rate', title: 'rate', unit: 'MB/s', atLeast: 5 }],
  warmUps: 2,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agent = stack.use(await startAgent(bench, runtime, { stdin: true }));
    const session = stack.use(await attach(runtime, agent.containerId, { stdin: true }));
    const step = MESSAGE_BYTES * MESSAGES_PER_WRITE;
    const bytes = Math.ceil(scaled(bench, BYTES) / step) * step;
    const owned = stack.move();
    return {
      async round() {
        const done = agent.command(`sink ${bytes}`);
        const start = now();
        for (let sent = 0; sent < bytes; sent += step) {
          if (!session.writeFrames(FRAMES)) await session.drained();
        }
        const report = await done;
        if (report.bytes !== bytes) throw new Error(`${runtime.name}: ${report.bytes} of ${bytes} bytes of input have come`);
        return { rate: [megabytesPerSecond(bytes, now() - start)] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
};
