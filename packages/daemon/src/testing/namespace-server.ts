/**
 * A streaming server in a process of its own, for a test that puts it into a network namespace: `namespace-server.ts HOST CERT KEY
 * NAME...`. Prints one line of JSON with a URL per name, then one when a session has begun, when its client takes nothing more, when more
 * input comes, and when the client is gone. Names are of three words (namespace-client.ts): of sessions that end in `output`, as many
 * bytes come as the client takes, the others say nothing.
 */
import type { SessionEnd, Ticket } from '../streaming/handler.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
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

/** Writes without end; `write` is false where there is no room, until `drain`. */
class Output {
  readonly #full = Promise.withResolvers<void>();
  readonly #timer: NodeJS.Timeout;
  #room = true;
  #waited = 0;

  constructor(write: (chunk: Buffer) => boolean) {
    this.#timer = setInterval(() => {
      this.#waited = this.#room ? 0 : this.#waited + EVERY_MS;
      if (this.#room) this.#room = write(CHUNK);
      if (this.#waited > FULL_MS) this.#full.resolve();
    }, EVERY_MS);
  }

  /** Resolves when the client takes nothing more. */
  get full(): Promise<void> {
    return this.#full.promise;
  }

  drain(): void {
    this.#room = true;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** What a session says, by the name of its ticket. */
class Session {
  readonly #name: string;
  readonly #end: (end: SessionEnd) => void;
  #output: Output | undefined;
  #isAttached = false;

  constructor(name: string, end: (end: SessionEnd) => void) {
    this.#name = name;
    this.#end = end;
  }

  /** The first is the client's word that all is there. */
  input(): void {
    say(this.#isAttached ? { input: this.#name } : { attached: this.#name });
    this.#isAttached = true;
  }

  write(write: (chunk: Buffer) => boolean): void {
    if (!this.#name.endsWith('output')) return;
    this.#output = new Output(write);
    void this.#output.full.then(() => say({ full: this.#name }));
  }

  drain(): void {
    this.#output?.drain();
  }

  closed(reason: string): void {
    this.#output?.stop();
    say({ closed: this.#name, reason });
    this.#end({ status: SUCCESS, cause: 'client gone' });
  }
}

function attach(name: string, transport: Transport): Promise<SessionEnd> {
  return new Promise((resolve) => {
    const session = new Session(name, resolve);
    transport.start(
      handlers({
        stdin: () => session.input(),
        drain: () => session.drain(),
        closed: (reason) => session.closed(reason),
      }),
    );
    session.write((chunk) => transport.write('stdout', chunk));
  });
}

function forward(name: string, transport: PortForwardTransport): Promise<SessionEnd> {
  return new Promise((resolve) => {
    const session = new Session(name, resolve);
    transport.start({
      connection: ({ data }) => {
        data.on('error', () => undefined);
        data.on('data', () => session.input());
        data.on('drain', () => session.drain());
        session.write((chunk) => data.write(chunk));
      },
      closed: (reason) => session.closed(reason),
    });
  });
}

const isForward = (name: string): boolean => /^[a-z]+-(forward|tunnel)-/.test(name);

const server = await createStreamingServer(
  { ...CONFIG, host, tls: { cert, key }, ticketTtlMs: 600_000 },
  {
    attach: ({ containerId }, transport) => attach(containerId, transport),
    exec: () => Promise.reject(new Error('not in this test')),
    portForward: ({ podId }, transport) => forward(podId, transport),
    drop: () => undefined,
  },
  silentLog,
);
const ticket = (name: string): Ticket =>
  isForward(name) ? { method: 'portforward', podId: name, ports: [] } : ticketOf({ containerId: name });
say({ urls: Object.fromEntries(names.map((name) => [name, server.issue(ticket(name))])) });
