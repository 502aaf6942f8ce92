// The daemon's end against a socket that speaks as a shim: input that waits stays as it came, though its memory is used again; an answer is read from where it came.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as immediate } from 'node:timers/promises';
import { eventFrame, outputFrame } from '../testing/shim-events.ts';
import type { Shim } from './shim.ts';
import { connectShim } from './shim-client.ts';
import { encodeHello, Event, HEADER_BYTES, MAX_DATA_BYTES, PROTOCOL_VERSION, Request } from './shim-frames.ts';

/** More than a unix socket takes for a reader that does not read. */
const MUCH = 4 * 1024 * 1024;
const READ_BYTES = 64 * 1024;

/** A shim without a container, whose stdin has room for all of it. */
function welcome(): Buffer {
  const payload = Buffer.alloc(60);
  payload.writeUInt32LE(PROTOCOL_VERSION);
  // Stdin is open.
  payload[14] = 1;
  payload.writeUInt32LE(2 * MUCH, 56);
  return eventFrame(Event.WELCOME, 0, payload);
}

function reply(seq: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32LE(seq);
  return eventFrame(Event.REPLY, 0, payload);
}

/** The data of all STDIN frames behind the HELLO. */
function stdinOf(sent: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < sent.length; ) {
    const length = sent.readUInt32LE(at);
    if (sent[at + 4] === Request.STDIN) pieces.push(sent.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length));
    at += HEADER_BYTES + length;
  }
  return Buffer.concat(pieces);
}

const ignore = (): void => undefined;
/** What of a listener these tests do not look at. */
const OTHERS = { gap: ignore, credit: ignore, stdinClosed: ignore, logLoss: ignore, exit: ignore, lost: ignore };

/** A connected shim, with the other end of its socket, which nobody reads yet. */
async function connected(t: TestContext): Promise<{ shim: Shim; socket: Socket }> {
  const folder = mkdtempSync(join(tmpdir(), 'bt-shim-client-'));
  const server: Server = createServer({ pauseOnConnect: true });
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 's');
  server.listen(path);
  await once(server, 'listening');
  const came = once(server, 'connection') as Promise<[Socket]>;
  const opening = connectShim(path, '0'.repeat(64));
  const [socket] = await came;
  socket.write(welcome());
  return { shim: await opening, socket };
}

test('what a shim does not read waits as it came', async (t) => {
  const { shim, socket } = await connected(t);
  const memory = Buffer.alloc(READ_BYTES);
  for (let at = 0; at < MUCH; at += READ_BYTES) {
    for (let word = 0; word < READ_BYTES; word += 4) memory.writeUInt32LE(at + word, word);
    // Two pieces of one read, as a client's messages are.
    shim.io.stdin(memory.subarray(0, 1000));
    shim.io.stdin(memory.subarray(1000));
    await immediate();
    memory.fill(0xff);
  }
  const bytes = encodeHello(Buffer.alloc(32)).length + MUCH + (MUCH / READ_BYTES) * 2 * HEADER_BYTES;
  const all: Buffer[] = [];
  let came = 0;
  for await (const chunk of socket) {
    all.push(chunk as Buffer);
    came += (chunk as Buffer).length;
    if (came >= bytes) break;
  }
  const got = stdinOf(Buffer.concat(all));
  assert.equal(got.length, MUCH);
  for (let at = 0; at < MUCH; at += 4) if (got.readUInt32LE(at) !== at) assert.fail(`wrong from byte ${at} on`);
  shim.close();
});

for (const way of ['unsubscribe', 'forgetOutput'] as const)
  test(`what comes right after \`${way}\` of a loud container is read from where it came`, async (t) => {
    const { shim, socket } = await connected(t);
    let received = 0;
    shim.io.listen({
      output: (_, offset, data) => {
        received = offset + data.length;
      },
      holds: () => false,
      ...OTHERS,
    });
    for (let i = 1; i <= 40; i++) {
      socket.write(outputFrame(1, received, Buffer.alloc(MAX_DATA_BYTES, i)));
      while (received < i * MAX_DATA_BYTES) await immediate();
    }
    shim.io[way]();
    for (let seq = 1; seq <= 2; seq++) {
      const answered = shim.io.flush();
      socket.write(reply(seq));
      await answered;
    }
    shim.close();
  });

test('a replay behind newer output, in the same memory: what is held of it stays as it came', async (t) => {
  const { shim, socket } = await connected(t);
  t.after(() => shim.close());
  const NEWER = 10 * MAX_DATA_BYTES;
  const kept: Buffer[] = [];
  let [came, replayed] = [0, 0];
  shim.io.listen({
    output: (_, offset, data) => {
      came += data.length;
      if (offset >= NEWER) return;
      kept.push(data);
      replayed = offset + data.length;
    },
    // Somebody has what was replayed, and nothing of what comes behind it.
    holds: (from, to) => from < replayed && to > 0,
    ...OTHERS,
  });
  let sent = 0;
  const send = async (offset: number, bytes: number, fill: number): Promise<void> => {
    socket.write(outputFrame(1, offset, Buffer.alloc(bytes, fill)));
    sent += bytes;
    while (came < sent) await immediate();
  };
  // Of the subscription before; the first read is full, so that the next ones go to a slab.
  await send(NEWER, MAX_DATA_BYTES, 0xee);
  await send(0, MAX_DATA_BYTES, 1);
  for (let i = 1; i <= 40; i++) await send(NEWER + i * MAX_DATA_BYTES, MAX_DATA_BYTES, 0xee);
  assert.ok(kept.length > 0);
  for (const data of kept) assert.ok(data.every((byte) => byte === 1));
});
