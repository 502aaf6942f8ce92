// Clients whose upgrade and whose frames are anything, over real connections: a fixed number from a fixed seed. The daemon goes on as if
// they had not been. What is thrown and caught by nobody, the test runner counts as a failure.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { keptBytes } from '../testing/collect-garbage.ts';
import { OddSpdyClient, oddWebSocketFrame, pick, type Random } from '../testing/odd-frames.ts';
import { forwardAtRandom, serveAtRandom } from '../testing/odd-sessions.ts';
import { oddUpgrade, type Wire } from '../testing/odd-upgrades.ts';
import { readAnswers } from '../testing/read-answers.ts';
import { SpdyClient } from '../testing/spdy-client.ts';
import { clientFrame, randomFrom } from '../transport/websocket/test-frames.ts';
import { type AttachTicket, type SessionKind, targetOf, type Ticket } from './handler.ts';
import { type Serve, startServer, SUCCESS, type TestServer, ticketOf, RawClient, type ServeForward } from './test-server.ts';

const SEED = 20_261_128;
const CLIENTS = 5_000;
/** Before memory and descriptors are looked at for the first time. */
const WARM_UP = 1_000;
const AT_ONCE = 40;
/** Nothing here takes a second; a session that only a timer ends takes 30 s. */
const HANGS_MS = 25_000;
/** 2 KB for each client behind the first, of which its ticket has some hundred bytes; what the allocators keep varies by 20 MB. */
const MAX_KEPT_BYTES = 8 * 2 ** 20;
const MAX_RESIDENT_BYTES = 64 * 2 ** 20;
const KINDS: readonly SessionKind[] = ['attach', 'exec', 'portforward'];
/** The router's, and what Node's HTTP server says by itself of what is no request, or is too long. */
const STATUSES = [100, 101, 400, 403, 404, 405, 417, 431];
const LIMITS = { maxTickets: 10_000, ticketTtlMs: 3_600_000, headerTimeoutMs: 600_000 };

const sessionTicket = (kind: 'attach' | 'exec', attach: AttachTicket): Ticket =>
  kind === 'attach' ? attach : { ...attach, method: kind, command: ['true'] };

function ticket(kind: SessionKind, name: string, random: Random): Ticket {
  if (kind === 'portforward') return { method: kind, podId: name, ports: pick(random, [[], [80], [80, 443]]) };
  const flag = (): boolean => random(3) > 0;
  const streams = { stdin: flag(), stdout: flag(), stderr: flag(), tty: !flag() };
  return sessionTicket(kind, ticketOf({ containerId: name, ...streams }));
}

/** Bytes of a client that has been let in, or takes itself to be. */
function frames(random: Random, wire: Wire): Buffer {
  const spdy = new OddSpdyClient(random);
  const frame = (): Buffer => {
    if (wire === 'websocket') return oddWebSocketFrame(random);
    if (wire === 'spdy') return spdy.frame();
    const isOdd = random(30) === 0;
    return isOdd ? oddWebSocketFrame(random) : clientFrame({ opcode: 2, payload: spdy.frame() });
  };
  return Buffer.concat(Array.from({ length: random(16) }, frame));
}

async function sendInPieces(random: Random, socket: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length && socket.writable; ) {
    const to = random(3) === 0 ? bytes.length : at + 1 + random(200);
    socket.write(bytes.subarray(at, to));
    at = to;
    await immediate();
  }
}

/** What became of a client. */
type Outcome = {
  readonly statuses: readonly number[];
  /** The client did not end by itself before it had the server's end, nor had the server a reason to cut it off. */
  readonly heardAll: boolean;
};

async function runClient(random: Random, kind: SessionKind, url: string): Promise<Outcome> {
  const { wire, bytes, inFront } = oddUpgrade(random, kind, url);
  const behind = frames(random, random(20) === 0 ? 'websocket' : wire);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.setNoDelay(true);
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  let isReset = false;
  socket.on('error', () => {
    isReset = true;
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const timer = setTimeout(() => socket.destroy(new Error('hangs')), HANGS_MS);
  await once(socket, 'connect');
  const began = performance.now();
  if (random(3) === 0) await sendInPieces(random, socket, Buffer.concat([bytes, behind]));
  else if (random(2) === 0) socket.write(Buffer.concat([bytes, behind]));
  else {
    socket.write(bytes);
    // One whose request is not whole gets no answer before it ends.
    if (random(2) === 0) await Promise.race([once(socket, 'data').catch(() => undefined), closed, sleep(20)]);
    await sendInPieces(random, socket, behind);
  }
  const leaves = random(12);
  if (leaves === 0) socket.resetAndDestroy();
  else if (leaves === 1) socket.destroy();
  else socket.end();
  await closed;
  clearTimeout(timer);
  assert.ok(performance.now() - began < HANGS_MS, `the connection does not end: ${JSON.stringify(bytes.toString('latin1'))}`);
  const heardAll = leaves > 1 && !isReset && inFront === 0;
  return { statuses: leaves > 1 ? readAnswers(Buffer.concat(received), inFront > 0) : [], heardAll };
}

const echo: Serve = ({ transport }) =>
  new Promise((resolve) => {
    transport.start({
      stdin: (chunk) => void transport.write('stdout', Buffer.from(chunk)),
      stdinEof: () => void transport.finish(SUCCESS).then(() => resolve(SUCCESS)),
      resize: () => undefined,
      drain: () => undefined,
      closed: () => resolve(SUCCESS),
    });
  });

const echoForward: ServeForward = (_, transport) =>
  new Promise((resolve) => transport.start({ connection: ({ data }) => void data.pipe(data), closed: () => resolve() }));

/** A client of each kind on each wire, as it should be. */
async function serveProperClients({ server }: TestServer): Promise<void> {
  for (const kind of ['attach', 'exec'] as const) {
    const url = (): string => server.issue(sessionTicket(kind, ticketOf({ containerId: 'proper' })));
    const spdy = await SpdyClient.connect(url());
    const { error, stdin, stdout } = await spdy.openSession('error', 'stdin', 'stdout', 'stderr');
    stdin.write('hello');
    stdin.end();
    await spdy.closed;
    assert.deepEqual([stdout.text, error.text], ['hello', '{"metadata":{},"status":"Success"}']);
    spdy.end();
    const webSocket = new RawClient(Number(new URL(server.base).port));
    webSocket.upgrade(url(), 'v5.channel.k8s.io');
    webSocket.socket.write(clientFrame({ opcode: 2, payload: Buffer.from('\0hello') }));
    webSocket.socket.write(clientFrame({ opcode: 2, payload: Buffer.of(255, 0) }));
    assert.match((await webSocket.untilEnd()).toString('latin1'), /\x01hello.*"Success"/s);
    webSocket.socket.end();
  }
  for (const tunnel of [false, true]) {
    const url = server.issue({ method: 'portforward', podId: 'proper', ports: [] });
    const client = await SpdyClient.connect(url, {
      tunnel,
      protocols: [tunnel ? 'SPDY/3.1+portforward.k8s.io' : 'portforward.k8s.io'],
    });
    const { data } = await client.forward(80);
    data.write('hello');
    data.end();
    await data.ended;
    assert.equal(data.text, 'hello');
    client.end();
  }
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

async function settled({ server }: TestServer): Promise<void> {
  for (const end = performance.now() + HANGS_MS; server.sessions > 0; await sleep(10)) {
    assert.ok(performance.now() < end, `${server.sessions} sessions do not end`);
  }
}

test(`${CLIENTS} clients with good, odd and broken upgrades and frames: answered, served or cut off, and nothing is left of them`, async (t) => {
  const broken: string[] = [];
  const served = new Map<string, number>();
  /** The session's own randomness: what it does must not depend on which client the server hears first. */
  const begin = (name: string): { random: Random; tell: (what: string) => void } => {
    served.set(name, (served.get(name) ?? 0) + 1);
    return { random: randomFrom(SEED + Number(name) * 31), tell: (what) => broken.push(`client ${name}: ${what}`) };
  };
  await using fixture = await startServer(
    async (session) => {
      const name = targetOf(session.ticket);
      if (name === 'proper') return await echo(session);
      const { random, tell } = begin(name);
      if (random(40) === 0) throw new Error('as the test says');
      await serveAtRandom(random, session.transport, { broken: tell });
      return SUCCESS;
    },
    LIMITS,
    undefined,
    async (forward, transport) => {
      if (forward.podId === 'proper') return await echoForward(forward, transport);
      const { random, tell } = begin(forward.podId);
      await forwardAtRandom(random, transport, tell);
    },
  );
  const { server } = fixture;
  const counts = new Map<string, number>();
  const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);

  const one = async (i: number): Promise<void> => {
    const random = randomFrom(SEED + i * 7_919);
    const kind = KINDS[i % KINDS.length] as SessionKind;
    const url = server.issue(ticket(kind, String(i), random));
    const { statuses, heardAll } = await runClient(random, kind, url).catch((error: unknown) => {
      throw new Error(`client ${i}`, { cause: error });
    });
    for (const status of statuses) assert.ok(STATUSES.includes(status), `client ${i}: ${statuses.join()}`);
    const isIn = statuses.includes(101);
    if (isIn || heardAll) assert.equal(served.get(String(i)) ?? 0, isIn ? 1 : 0, `client ${i}: ${statuses.join()}`);
    count(`${kind} ${isIn ? 'in' : 'not in'}`);
    count(String(statuses.at(-1)));
  };
  let next = 0;
  const runUntil = async (end: number): Promise<void> => {
    const worker = async (): Promise<void> => {
      for (; next < end; ) {
        next += 1;
        await one(next - 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    await settled(fixture);
  };

  await runUntil(WARM_UP);
  const before = { descriptors: descriptors(), kept: await keptBytes(), resident: process.memoryUsage().rss };
  await runUntil(CLIENTS);
  const after = { descriptors: descriptors(), kept: await keptBytes(), resident: process.memoryUsage().rss };

  t.diagnostic(JSON.stringify({ ...Object.fromEntries(counts), before, after }));
  assert.deepEqual(broken, []);
  assert.deepEqual(fixture.dropped, [], 'no ticket was taken for a session that could not be opened');
  assert.equal(server.tickets, CLIENTS - served.size, 'a ticket is either used up by a session or still there');
  assert.ok(after.descriptors <= before.descriptors + 2, JSON.stringify({ before, after }));
  assert.ok(after.kept - before.kept < MAX_KEPT_BYTES, JSON.stringify({ before, after }));
  assert.ok(after.resident - before.resident < MAX_RESIDENT_BYTES, JSON.stringify({ before, after }));
  for (const kind of KINDS) {
    const isIn = counts.get(`${kind} in`) ?? 0;
    assert.ok(isIn > CLIENTS / KINDS.length / 4 && isIn < CLIENTS / KINDS.length / 1.5, `${kind}: ${isIn} were let in`);
  }
  await serveProperClients(fixture);
  await settled(fixture);
});
