/**
 * A streaming server in a process of its own, for a test that puts it into a network namespace: `namespace-server.ts HOST CERT KEY
 * NAME...`. Prints one line of JSON with a URL per name, then one when a session has begun, when its client takes nothing more, and when that is
 * gone. Sessions whose
 * name ends in `output` write without end, the others say nothing.
 */
import type { Transport } from '../transport/transport.ts';
import { silentLog } from '../util/log.ts';
import { createStreamingServer } from '../streaming/server.ts';
import { CONFIG, handlers, SUCCESS, ticketOf } from '../streaming/test-server.ts';

/** 800 KB/s: less than any link takes, and enough to fill the buffers of a client that has stopped within seconds. */
const CHUNK = Buffer.alloc(16_000, 'x');
const EVERY_MS = 20;
/** Without room for so long, the client's buffers are full. */
const FULL_MS = 1_000;

const [host = '', cert = '', key = '', ...names] = process.argv.slice(2);

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

function write(transport: Transport): { drain: () => void; stop: () => void; full: Promise<void> } {
  const full = Promise.withResolvers<void>();
  let room = true;
  let waited = 0;
  const timer = setInterval(() => {
    waited = room ? 0 : waited + EVERY_MS;
    if (room) room = transport.write('stdout', CHUNK);
    if (waited > FULL_MS) full.resolve();
  }, EVERY_MS);
  return {
    full: full.promise,
    drain: () => {
      room = true;
    },
    stop: () => clearInterval(timer),
  };
}

const server = await createStreamingServer(
  { ...CONFIG, host, tls: { cert, key }, ticketTtlMs: 600_000 },
  {
    attach: ({ containerId: name }, transport) =>
      new Promise((resolve) => {
        const output = name.endsWith('output') ? write(transport) : undefined;
        transport.start(
          handlers({
            stdin: () => say({ input: name }),
            drain: () => output?.drain(),
            closed: (reason) => {
              output?.stop();
              say({ closed: name, reason });
              resolve({ status: SUCCESS, cause: 'client gone' });
            },
          }),
        );
        say({ attached: name });
        if (output !== undefined) void output.full.then(() => say({ full: name }));
      }),
    exec: () => Promise.reject(new Error('not in this test')),
    portForward: () => Promise.reject(new Error('not in this test')),
    drop: () => undefined,
  },
  silentLog,
);
say({ urls: Object.fromEntries(names.map((name) => [name, server.issue(ticketOf({ containerId: name }))])) });
