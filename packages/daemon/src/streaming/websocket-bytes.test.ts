// Volume, slow clients, back-pressure and many connections over WebSocket; every byte is counted.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { SUBPROTOCOLS, encodeMessage, type SubprotocolName } from '@berth/attach-protocol';
import { WebSocket } from 'ws';
import { chunksOf, digest } from '../testing/noise.ts';
import { unchanged } from '../testing/stops.ts';
import { OUTBOUND_HIGH_WATER } from '../transport/transport.ts';
import { MAX_PENDING_INPUT_BYTES } from '../transport/limits.ts';
import { clientFrame } from '../transport/websocket/test-frames.ts';
import { answerNormalEnd, handlers, Pump, RawClient, type Serve, startServer, SUCCESS } from './test-server.ts';

const MIB = 2 ** 20;
const VOLUME = 64 * MIB;
const SLOW_RUNS = 50;
const CONNECTIONS = 10_000;

/** Waits for room in the client: `ws` queues without bound. */
async function send(client: WebSocket, data: Uint8Array | string): Promise<void> {
  client.send(data);
  while (client.bufferedAmount > MIB) await sleep(1);
}

for (const name of ['v5.channel.k8s.io', 'v4.base64.channel.k8s.io'] satisfies SubprotocolName[]) {
  test(`${name}: 64 MiB each way at once, exact`, async () => {
    const protocol = SUBPROTOCOLS[name];
    const input = createHash('sha256');
    let inputBytes = 0;
    await using fixture = await startServer(async ({ transport }) => {
      const pump = new Pump();
      const allIn = Promise.withResolvers<void>();
      transport.start(
        handlers({
          stdin: (chunk) => {
            input.update(chunk);
            inputBytes += chunk.length;
            // A container that reads in its own time: paused on every chunk.
            transport.pauseInput();
            setImmediate(() => transport.resumeInput());
            if (inputBytes === VOLUME) allIn.resolve();
          },
          drain: pump.drain,
        }),
      );
      await pump.write(transport, 'stdout', chunksOf(VOLUME, 1));
      await allIn.promise;
      await transport.finish(SUCCESS);
      return SUCCESS;
    });
    const client = new WebSocket(fixture.url(), [name]);
    const output = createHash('sha256');
    let outputBytes = 0;
    let status = '';
    client.on('message', (data: Buffer) => {
      const binary = protocol.encoding === 'binary';
      const channel = binary ? data[0] : Number(String.fromCharCode(data[0] ?? 0));
      const payload = binary ? data.subarray(1) : Buffer.from(data.subarray(1).toString('latin1'), 'base64');
      if (channel === 3) status += payload.toString();
      else {
        output.update(payload);
        outputBytes += payload.length;
      }
    });
    await once(client, 'open');
    const closed = once(client, 'close');
    for (const chunk of chunksOf(VOLUME, 2)) {
      const message =
        protocol.encoding === 'binary' ? encodeMessage(protocol, 0, chunk) : `0${Buffer.from(chunk).toString('base64')}`;
      await send(client, message);
    }
    assert.equal((await closed)[0], 1000);
    assert.equal(outputBytes, VOLUME);
    assert.equal(output.digest('hex'), digest(VOLUME, 1));
    assert.equal(inputBytes, VOLUME);
    assert.equal(input.digest('hex'), digest(VOLUME, 2));
    assert.equal(status, '{"metadata":{},"status":"Success"}');
  });
}

test(`a slow reader gets every byte, the status and close 1000 in ${SLOW_RUNS} of ${SLOW_RUNS} runs, though it pings to the end`, async () => {
  const total = 8 * MIB;
  await using fixture = await startServer(async ({ transport }) => {
    const pump = new Pump();
    transport.start(handlers({ drain: pump.drain }));
    await pump.write(transport, 'stdout', chunksOf(total, 3));
    await transport.finish(SUCCESS);
    return SUCCESS;
  });
  const expected = digest(total, 3);
  const one = async (): Promise<void> => {
    const client = new WebSocket(fixture.url(), ['v5.channel.k8s.io']);
    const hash = createHash('sha256');
    let bytes = 0;
    let status = '';
    let since = 0;
    client.on('message', (data: Buffer) => {
      if (data[0] === 3) status += data.subarray(1).toString();
      else {
        hash.update(data.subarray(1));
        bytes += data.length - 1;
      }
      since += data.length;
      if (since < 512 * 1024) return;
      since = 0;
      client.pause();
      setTimeout(() => client.resume(), 10);
    });
    await once(client, 'open');
    // What makes careless servers reset the connection: bytes that arrive after their close.
    const pings = setInterval(() => client.readyState === WebSocket.OPEN && client.ping(), 3);
    const [code] = (await once(client, 'close')) as [number];
    clearInterval(pings);
    assert.equal(bytes, total);
    assert.equal(hash.digest('hex'), expected);
    assert.equal(status, '{"metadata":{},"status":"Success"}');
    assert.equal(code, 1000);
  };
  for (let run = 0; run < SLOW_RUNS; run += 5) await Promise.all(Array.from({ length: 5 }, one));
});

test('a client that reads nothing holds a bounded amount, and gets all of it when it reads again', async () => {
  let queued = 0;
  let blocked = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  await using fixture = await startServer(async ({ transport }) => {
    const room = { wake: (): void => undefined };
    transport.start(handlers({ drain: () => room.wake() }));
    const chunk = Buffer.alloc(32 * 1024, 'o');
    let written = 0;
    while (written < 32 * MIB) {
      written += chunk.length;
      if (transport.write('stdout', chunk)) continue;
      const drained = new Promise<void>((resolve) => {
        room.wake = resolve;
      });
      queued = written;
      blocked.resolve();
      await drained;
    }
    await goOn.promise;
    await transport.finish(SUCCESS);
    return SUCCESS;
  });
  const client = new RawClient(Number(new URL(fixture.server.base).port));
  client.upgrade(fixture.url());
  await client.head();
  client.socket.pause();
  await blocked.promise;
  blocked = Promise.withResolvers<void>();
  const stuckAt = await unchanged(() => queued);
  assert.ok(stuckAt < 32 * MIB, 'the kernel does not take all of it');
  await sleep(200);
  assert.equal(queued, stuckAt, 'nothing more is written');
  goOn.resolve();
  client.socket.removeAllListeners('data');
  answerNormalEnd(client.socket);
  let got = client.received.length;
  client.socket.on('data', (chunk: Buffer) => {
    got += chunk.length;
  });
  client.socket.resume();
  await once(client.socket, 'end');
  const frames = (32 * MIB) / (32 * 1024);
  const status = '{"metadata":{},"status":"Success"}';
  const beats = ((32 * MIB) / (128 * 1024)) * 2;
  const lastPing = 7;
  assert.equal(got, 3 + 32 * MIB + frames * 5 + beats + (2 + 1 + status.length) + lastPing + 4);
  client.socket.end();
});

test('input that is not taken: bounded, pings answered while there is room, then nothing is lost', async () => {
  const total = 16 * MIB;
  const input = createHash('sha256');
  let bytes = 0;
  const resume = Promise.withResolvers<() => void>();
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) => {
        transport.start(
          handlers({
            stdin: (chunk) => {
              input.update(chunk);
              bytes += chunk.length;
              if (bytes === total) void transport.finish(SUCCESS).then(() => resolve(SUCCESS));
            },
          }),
        );
        transport.pauseInput();
        resume.resolve(() => transport.resumeInput());
      }),
  );
  const client = new WebSocket(fixture.url(), ['v4.channel.k8s.io']);
  await once(client, 'open');
  const goOn = await resume.promise;
  client.send(Buffer.concat([Buffer.of(0), ...chunksOf(1000, 4)]));
  client.ping('still there?');
  const [pong] = (await once(client, 'pong')) as [Buffer];
  assert.equal(pong.toString(), 'still there?', 'a paused transport answers pings');
  assert.equal(bytes, 0);
  const closed = once(client, 'close');
  const all = [...chunksOf(total, 5)];
  // The first 1000 bytes are of another seed: the hash is made of both.
  const expected = createHash('sha256');
  for (const chunk of chunksOf(1000, 4)) expected.update(chunk);
  let sent = 1000;
  for (const chunk of all) {
    const part = chunk.subarray(0, Math.min(chunk.length, total - sent));
    if (part.length === 0) break;
    sent += part.length;
    expected.update(part);
    client.send(Buffer.concat([Buffer.of(0), part]));
  }
  await sleep(300);
  const stuck = client.bufferedAmount;
  assert.ok(stuck > 0, 'the client feels it');
  const unsolicited = once(client, 'pong');
  assert.equal(bytes, 0);
  // Every 5 s while the socket is not read.
  assert.equal(((await unsolicited)[0] as Buffer).length, 0);
  goOn();
  assert.equal((await closed)[0], 1000);
  assert.equal(bytes, total);
  assert.equal(input.digest('hex'), expected.digest('hex'));
});

test('pings are answered while output flows, ahead of all but a bounded queue', async () => {
  const over = Promise.withResolvers<void>();
  const echo: Serve = async ({ transport }) => {
    const pump = new Pump();
    transport.start(handlers({ drain: pump.drain, closed: () => over.resolve() }));
    await Promise.race([over.promise, pump.write(transport, 'stdout', chunksOf(1024 * MIB, 6))]);
    return SUCCESS;
  };
  await using fixture = await startServer(echo);
  const client = new WebSocket(fixture.url({ stdin: false }), ['v5.channel.k8s.io']);
  await once(client, 'open');
  let bytes = 0;
  client.on('message', (data: Buffer) => {
    bytes += data.length;
  });
  for (let i = 0; i < 50; i += 1) {
    client.ping(String(i));
    const [payload] = (await once(client, 'pong')) as [Buffer];
    assert.equal(payload.toString(), String(i));
  }
  assert.ok(bytes > OUTBOUND_HIGH_WATER, 'output was flowing');
  client.terminate();
  await over.promise;
});

test('a flood of tiny messages into a session that takes none stays bounded', async () => {
  let bytes = 0;
  const resume = Promise.withResolvers<() => void>();
  const frames = 200_000;
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) => {
        transport.start(
          handlers({
            stdin: (chunk) => {
              bytes += chunk.length;
              if (bytes === frames) void transport.finish(SUCCESS).then(() => resolve(SUCCESS));
            },
          }),
        );
        transport.pauseInput();
        resume.resolve(() => transport.resumeInput());
      }),
  );
  const client = new RawClient(Number(new URL(fixture.server.base).port));
  client.upgrade(fixture.url(), 'v4.channel.k8s.io');
  const goOn = await resume.promise;
  const one = clientFrame({ opcode: 2, payload: Buffer.from('\0x') });
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  client.socket.write(Buffer.concat(Array.from({ length: frames }, () => one)));
  await sleep(500);
  assert.ok(process.memoryUsage().rss - before < 64 * MIB + MAX_PENDING_INPUT_BYTES, 'memory stays bounded');
  assert.equal(bytes, 0);
  goOn();
  await client.until((received) => received.includes('Success'));
  assert.equal(bytes, frames);
  client.socket.end();
});

test(`${CONNECTIONS} connects and disconnects of all kinds leave no descriptor and no session`, async () => {
  let served = 0;
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) => {
        served += 1;
        transport.start(handlers({ closed: () => resolve(SUCCESS) }));
        if (served % 3 === 0) void transport.finish(SUCCESS).then(() => resolve(SUCCESS));
      }),
  );
  const port = Number(new URL(fixture.server.base).port);
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const one = async (i: number): Promise<void> => {
    const client = new RawClient(port);
    client.upgrade(fixture.url());
    await client.head();
    if (i % 4 === 0) client.socket.resetAndDestroy();
    else if (i % 4 === 1) client.socket.destroy();
    else if (i % 4 === 2) client.socket.end(clientFrame({ opcode: 8 }));
    else client.socket.end();
    await once(client.socket, 'close');
  };
  const settled = async (): Promise<number> => {
    for (let i = 0; i < 200 && fixture.server.sessions > 0; i += 1) await sleep(25);
    assert.equal(fixture.server.sessions, 0);
    await sleep(100);
    return descriptors();
  };
  for (let i = 0; i < 100; i += 1) await one(i);
  const before = await settled();
  for (let i = 0; i < CONNECTIONS; i += 20) await Promise.all(Array.from({ length: 20 }, (_, k) => one(i + k)));
  const after = await settled();
  assert.equal(served, CONNECTIONS + 100);
  assert.ok(after <= before + 2, `${before} descriptors before, ${after} after`);
});
