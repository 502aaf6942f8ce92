// Clients that send anything over a real connection, to sessions that dawdle: a fixed number from a fixed seed, several at once, since all
// connections are read into the same memory. Nothing may be thrown, hang, grow or be told twice, and input is exactly what was sent.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as immediate } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { type Subprotocol, SUBPROTOCOLS } from '@berth/attach-protocol';
import { keptBytes } from '../../testing/collect-garbage.ts';
import { type Meaning, ModelClient } from '../../testing/model-client.ts';
import { pick, type Random } from '../../testing/odd-frames.ts';
import { type OddEnd, serveAtRandom } from '../../testing/odd-sessions.ts';
import { sharedReads } from '../client-reads.ts';
import { MAX_PENDING_INPUT_BYTES } from '../limits.ts';
import { OUTBOUND_HIGH_WATER } from '../transport.ts';
import { randomFrom, serverFrames } from './test-frames.ts';
import { type TransportTimes, WebSocketTransport } from './websocket-transport.ts';

const SEED = 20_261_128;
const SESSIONS = 1_600;
const WARM_UP = 400;
const AT_ONCE = 8;
const FRAMES = 50;
/** Nothing here takes a second. */
const HANGS_MS = 25_000;
/** More than any single message here. */
const SLACK_BYTES = 256 * 1024;
/** What Node reads at once. */
const READ_BYTES = 64 * 1024;
/** 14 KB for each session behind the first. */
const MAX_GROWN_BYTES = 16 * 2 ** 20;
const LONG_MS = 600_000;
const TIMES: TransportTimes = {
  keepalive: { pingMs: LONG_MS, unreadPongMs: LONG_MS },
  linger: { noProgressMs: LONG_MS, pollMs: LONG_MS, peerPollMs: LONG_MS, silentMs: LONG_MS, peerMs: LONG_MS },
  lostInputMs: LONG_MS,
};

let server: Server;
/** By the client's port: both ends hear of a connection in either order. */
const arrivals = new Map<number | undefined, PromiseWithResolvers<Socket>>();
before(async () => {
  server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => arrival(socket.remotePort).resolve(socket));
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
});
after(() => server.close());

function arrival(port: number | undefined): PromiseWithResolvers<Socket> {
  const known = arrivals.get(port);
  if (known !== undefined) return known;
  const made = Promise.withResolvers<Socket>();
  arrivals.set(port, made);
  return made;
}

/** Both ends of a connection. */
async function socketPair(): Promise<{ readonly socket: Socket; readonly client: Socket }> {
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  client.setNoDelay(true);
  client.on('error', () => undefined);
  await once(client, 'connect');
  const { localPort } = client;
  const socket = await arrival(localPort).promise;
  arrivals.delete(localPort);
  return { socket, client };
}

type Ended = 'by itself' | 'by the client' | 'by a broken client';

async function runSession(random: Random): Promise<Ended> {
  const { socket, client } = await socketPair();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error('hangs')), HANGS_MS);
  try {
    return await Promise.race([serve(random, socket, client), late.promise]);
  } finally {
    clearTimeout(timer);
    client.destroy();
    socket.destroy();
  }
}

async function serve(random: Random, socket: Socket, client: Socket): Promise<Ended> {
  let isReset = false;
  client.on('error', () => {
    isReset = true;
  });
  const received: Buffer[] = [];
  client.on('data', (chunk: Buffer) => received.push(chunk));
  const isSlow = random(4) === 0;
  const protocol = pick<Subprotocol>(random, Object.values(SUBPROTOCOLS));
  const streams = { stdin: random(8) > 0, stdout: random(4) > 0, stderr: random(2) === 0, tty: random(2) === 0 };
  const model = new ModelClient(random, protocol, { stdin: streams.stdin, big: random(4) === 0 });
  const reads = sharedReads(socket, Buffer.alloc(0));
  const transport = new WebSocketTransport({ reads, protocol, streams }, TIMES);
  const broken: string[] = [];
  const heard: Buffer[] = [];
  let heardBytes = 0;
  let isEnding = false;
  const session = serveAtRandom(randomFrom(random(2 ** 31)), transport, {
    broken: (what) => broken.push(what),
    heard: (chunk) => {
      heard.push(Buffer.from(chunk));
      heardBytes += chunk.length;
    },
    ending: () => {
      isEnding = true;
    },
  });
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));

  let sent = 0;
  if (isSlow) client.pause();
  for (let i = random(FRAMES); i >= 0 && client.writable; i -= 1) {
    const frame = model.frame();
    // The last one may be cut off, as by a client that is killed; one that is broken is so from its head on.
    const bytes = i === 0 && !model.isOver && random(3) === 0 ? frame.subarray(0, random(frame.length)) : frame;
    for (let at = 0; at < bytes.length && client.writable; ) {
      const to = random(3) > 0 ? bytes.length : Math.min(bytes.length, at + 1 + random(5_000));
      client.write(bytes.subarray(at, to));
      sent += to - at;
      at = to;
      if (random(4) === 0) await immediate();
      const unread = reads.socket.bytesRead - (sent - model.inputBytes(sent)) - heardBytes;
      if (!isEnding && protocol.encoding === 'binary')
        assert.ok(unread <= MAX_PENDING_INPUT_BYTES + READ_BYTES, `${unread} bytes wait`);
      assert.ok(reads.socket.writableLength <= OUTBOUND_HIGH_WATER + SLACK_BYTES, `${reads.socket.writableLength} bytes queued`);
    }
  }
  client.end();
  client.resume();
  const end = await session;
  await closed;
  assert.deepEqual(broken, []);
  return check({
    model: model.meaning(sent),
    input: Buffer.concat(heard),
    end,
    frames: [...serverFrames(Buffer.concat(received))],
    isReset,
  });
}

type Outcome = {
  readonly model: Meaning;
  readonly input: Buffer;
  readonly end: OddEnd;
  readonly frames: readonly { opcode: number; payload: Buffer }[];
  /** The client sent on behind its close frame, or behind the end of the session, and does not get everything. */
  readonly isReset: boolean;
};

function check({ model, input, end, frames, isReset }: Outcome): Ended {
  const closes = frames.filter(({ opcode }) => opcode === 8);
  assert.ok(closes.length <= 1);
  assert.equal(frames.at(-1)?.opcode === 8, closes.length === 1, 'nothing behind a close frame');
  const code = closes[0] === undefined || closes[0].payload.length === 0 ? undefined : closes[0].payload.readUInt16BE();
  if (end.reason === undefined || end.reason === 'ended by the server') {
    assert.ok(model.input.subarray(0, input.length).equals(input), 'input as it was sent');
    if (end.reason === undefined && !isReset) assert.equal(code, 1000);
    return 'by itself';
  }
  assert.ok(model.input.equals(input), `all input: ${input.length} of ${model.input.length} bytes`);
  assert.equal(end.eof, model.eof);
  assert.equal(end.reason, model.end?.reason ?? 'client went away');
  if (!isReset)
    assert.deepEqual({ closes: closes.length, code }, { closes: model.end === undefined ? 0 : 1, code: model.end?.code });
  return model.end?.reason.startsWith('client broke') === true ? 'by a broken client' : 'by the client';
}

test(`${SESSIONS} sessions of attach and exec`, async (t) => {
  const ends = new Map<string, number>();
  let next = 0;
  const one = async (i: number): Promise<void> => {
    const end = await runSession(randomFrom(SEED + i * 7_919)).catch((error: unknown) => {
      next = SESSIONS;
      throw new Error(`session ${i}`, { cause: error });
    });
    ends.set(end, (ends.get(end) ?? 0) + 1);
  };
  const runUntil = async (last: number): Promise<void> => {
    const worker = async (): Promise<void> => {
      while (next < last) {
        next += 1;
        await one(next - 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  };
  await runUntil(WARM_UP);
  const atFirst = await keptBytes();
  await runUntil(SESSIONS);
  const grown = (await keptBytes()) - atFirst;
  t.diagnostic(JSON.stringify({ ...Object.fromEntries(ends), grown }));
  assert.ok(grown < MAX_GROWN_BYTES, `${grown} bytes are kept`);
  for (const end of ['by itself', 'by the client', 'by a broken client']) assert.ok((ends.get(end) ?? 0) > SESSIONS / 10, end);
});
