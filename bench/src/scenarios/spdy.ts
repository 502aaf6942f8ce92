/** Attach over SPDY/3.1, which every kubectl and an unflagged crictl reach a runtime by. */
import { attachUrl } from '../client/attach.ts';
import { dataFrame, SpdySession } from '../client/spdy-session.ts';
import { received } from '../client/wait.ts';
import { startAgent, wholeWrites } from '../fixtures/agent.ts';
import { type PartOf, type Scenario, scaled } from '../scenario.ts';
import { KIB, MIB, megabytesPerSecond, now } from '../units.ts';

const BYTES = 256 * MIB;
const MESSAGE_BYTES = 32 * KIB;
const MESSAGES_PER_WRITE = 32;
const STEP = MESSAGE_BYTES * MESSAGES_PER_WRITE;
const FRAMES = Buffer.concat(
  Array<Buffer>(MESSAGES_PER_WRITE).fill(dataFrame(SpdySession.STDIN, Buffer.alloc(MESSAGE_BYTES, 'i'))),
);

const partOfWebSocket = (scenario: string): PartOf => ({ scenario, of: 'rate', title: "part of WebSocket's", atLeast: 0.5 });

export const spdy: Scenario = {
  name: 'spdy',
  title: 'attach over SPDY/3.1, without the CRI log',
  metrics: [
    { of: 'stdout', title: 'stdout, 64 KiB blocks', unit: 'MB/s', atLeast: 2, partOf: partOfWebSocket('stdout-blocks') },
    { of: 'stdin', title: 'stdin, 32 KiB frames', unit: 'MB/s', atLeast: 2, partOf: partOfWebSocket('stdin') },
  ],
  warmUps: 2,
  async prepare(bench, runtime) {
    await using stack = new AsyncDisposableStack();
    const agent = stack.use(await startAgent(bench, runtime, { stdin: true, log: false }));
    const session = stack.use(await SpdySession.open(await attachUrl(runtime, agent.containerId, { stdin: true }), true));
    const written = wholeWrites('blocks', scaled(bench, BYTES));
    const sent = Math.ceil(scaled(bench, BYTES) / STEP) * STEP;
    const owned = stack.move();
    return {
      async round() {
        const began = now();
        const [report] = await Promise.all([agent.command(`blocks ${written}`), received(session, written)]);
        const stdout = megabytesPerSecond(report.bytes, now() - began);
        const done = agent.command(`sink ${sent}`);
        const start = now();
        for (let at = 0; at < sent; at += STEP) if (!session.writeFrames(FRAMES)) await session.drained();
        const { bytes } = await done;
        if (bytes !== sent) throw new Error(`${runtime.name}: ${bytes} of ${sent} bytes of input have come`);
        return { stdout: [stdout], stdin: [megabytesPerSecond(sent, now() - start)] };
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    };
  },
};
