// Volume, slow clients, back-pressure and many connections over SPDY; every byte is counted.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { Certificates } from '../testing/certificates.ts';
import { chunksOf, digest } from '../testing/noise.ts';
import { SpdyClient } from '../testing/spdy-client.ts';
import { unchanged } from '../testing/stops.ts';
import { MAX_PENDING_INPUT_BYTES } from '../transport/limits.ts';
import { UNREAD_SIGN_ID } from '../transport/spdy/constants.ts';
import { OUTBOUND_HIGH_WATER } from '../transport/transport.ts';
import { handlers, Pump, type Serve, startServer, SUCCESS, ticketOf } from './test-server.ts';

const MIB = 2 ** 20;
const VOLUME = 64 * MIB;
const SLOW_RUNS = 50;
const CONNECTIONS = 5_000;
/** What connections with this local port have received and nobody has read, by the kernel's table. */
function unreadBytes(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = readFileSync('/proc/self/net/tcp', 'latin1').split('\n');
  const entries = lines.map((line) => line.trim().split(/\s+/)).filter((fields) => fields[1]?.endsWith(local));
  return entries.reduce((sum, fields) => sum + Number.parseInt(fields[4]?.split(':')[1] ?? '', 16), 0);
}

const SUCCESS_JSON = '{"metadata":{},"status":"Success"}';

test('64 MiB each way at once, exact', async () => {
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
        },
        stdinEof: allIn.resolve,
        drain: pump.drain,
      }),
    );
    await pump.write(transport, 'stdout', chunksOf(VOLUME, 1));
    await pump.write(transport, 'stderr', chunksOf(MIB, 3));
    await allIn.promise;
    await transport.finish(SUCCESS);
    return SUCCESS;
  });
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  const { error, stdin, stdout, stderr } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
  for (const chunk of chunksOf(VOLUME, 2)) await stdin.writeSlowly(chunk);
  stdin.end();
  assert.equal(await client.closed, 'FIN');
  client.end();
  assert.equal(stdout.bytes, VOLUME);
  assert.equal(stdout.sha256, digest(VOLUME, 1));
  assert.equal(stderr.sha256, digest(MIB, 3));
  assert.equal(inputBytes, VOLUME);
  assert.equal(input.digest('hex'), digest(VOLUME, 2));
  assert.equal(error.text, SUCCESS_JSON);
});

test(`a slow reader gets every byte, the ends and the status in ${SLOW_RUNS} of ${SLOW_RUNS} runs, though it pings to the end`, async () => {
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
    const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
    const { error, stdout, stderr } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
    let since = 0;
    client.onRead = (bytes) => {
      since += bytes;
      if (since < 512 * 1024) return;
      since = 0;
      client.pause();
      setTimeout(() => client.resume(), 10);
    };
    // What makes careless servers reset the connection: bytes that arrive after their close.
    const pings = setInterval(() => void client.ping(), 3);
    assert.equal(await client.closed, 'FIN');
    clearInterval(pings);
    client.end();
    assert.equal(stdout.bytes, total);
    assert.equal(stdout.sha256, expected);
    assert.equal(error.text, SUCCESS_JSON);
    assert.deepEqual(
      [error, stdout, stderr].map((stream) => stream.isEnded),
      [true, true, true],
    );
  };
  for (let run = 0; run < SLOW_RUNS; run += 5) await Promise.all(Array.from({ length: 5 }, one));
});

test('over TLS: a slow reader gets every byte, the ends and the status, though it pings to the end', async () => {
  using certs = new Certificates();
  const total = 4 * MIB;
  const serve: Serve = async ({ transport }) => {
    const pump = new Pump();
    transport.start(handlers({ drain: pump.drain }));
    await pump.write(transport, 'stdout', chunksOf(total, 3));
    await transport.finish(SUCCESS);
    return SUCCESS;
  };
  await using fixture = await startServer(serve, { tls: certs.issue('server') });
  const one = async (): Promise<void> => {
    const client = await SpdyClient.connect(fixture.server.issue(ticketOf()), { ca: certs.caPem });
    const { error, stdout, stderr } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
    let since = 0;
    client.onRead = (bytes) => {
      since += bytes;
      if (since < 256 * 1024) return;
      since = 0;
      client.pause();
      setTimeout(() => client.resume(), 10);
    };
    const pings = setInterval(() => void client.ping(), 3);
    assert.equal(await client.closed, 'FIN');
    clearInterval(pings);
    client.end();
    assert.equal(stdout.sha256, digest(total, 3));
    assert.equal(stderr.isEnded, true);
    assert.equal(error.text, SUCCESS_JSON);
  };
  for (let run = 0; run < 10; run += 5) await Promise.all(Array.from({ length: 5 }, one));
});

test('a client that reads nothing holds a bounded amount, and gets all of it when it reads again', async () => {
  let written = 0;
  let blocked = false;
  const goOn = Promise.withResolvers<void>();
  const total = 32 * MIB;
  await using fixture = await startServer(async ({ transport }) => {
    const room = { wake: (): void => undefined };
    transport.start(handlers({ drain: () => room.wake() }));
    const chunk = Buffer.alloc(32 * 1024, 'o');
    while (written < total) {
      written += chunk.length;
      if (transport.write('stdout', chunk)) continue;
      blocked = true;
      await new Promise<void>((resolve) => {
        room.wake = resolve;
      });
    }
    await goOn.promise;
    await transport.finish(SUCCESS);
    return SUCCESS;
  });
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf({ stdin: false, stderr: false })));
  const { error, stdout } = await client.openSession('error', 'stdout');
  client.pause();
  while (!blocked) await sleep(5);
  const stuckAt = await unchanged(() => written);
  assert.ok(stuckAt < total, 'the kernel does not take all of it');
  await sleep(200);
  assert.equal(written, stuckAt, 'nothing more is written');
  goOn.resolve();
  client.resume();
  await client.closed;
  client.end();
  assert.equal(stdout.bytes, total);
  assert.equal(error.text, SUCCESS_JSON);
});

test('input that is not taken: bounded, pings answered while there is room, signs of life beyond, nothing lost', async () => {
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
            },
            stdinEof: () => void transport.finish(SUCCESS).then(() => resolve(SUCCESS)),
          }),
        );
        transport.pauseInput();
        resume.resolve(() => transport.resumeInput());
      }),
  );
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  const { error, stdin } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
  const goOn = await resume.promise;
  const chunks = chunksOf(total, 5);
  stdin.write(chunks.next().value as Uint8Array);
  await client.ping();
  assert.equal(bytes, 0, 'a paused transport answers pings');
  let stuck = true;
  const sent = (async () => {
    for (const chunk of chunks) await stdin.writeSlowly(chunk);
    stuck = false;
    stdin.end();
  })();
  // Signs come every 5 s while the socket is not read.
  const deadline = performance.now() + 15_000;
  while (!client.frames.includes(`PING ${UNREAD_SIGN_ID}`) && performance.now() < deadline) await sleep(50);
  assert.ok(client.frames.includes(`PING ${UNREAD_SIGN_ID}`));
  assert.ok(stuck, 'the client feels it');
  assert.equal(bytes, 0);
  goOn();
  await sent;
  await client.closed;
  client.end();
  assert.equal(bytes, total);
  assert.equal(input.digest('hex'), digest(total, 5));
  assert.equal(error.text, SUCCESS_JSON);
});

test('a client that dies while its input is not read loses none of it, and is noticed behind it', async () => {
  const closed = Promise.withResolvers<string>();
  let bytes = 0;
  await using fixture = await startServer(
    ({ transport }) =>
      new Promise((resolve) => {
        transport.start(
          handlers({
            stdin: (chunk) => {
              bytes += chunk.length;
            },
            closed: (reason) => {
              closed.resolve(reason);
              resolve(SUCCESS);
            },
          }),
        );
        transport.pauseInput();
        // By then a sign of life would have been answered with a reset, and the next one would have failed.
        setTimeout(() => transport.resumeInput(), 12_000);
      }),
  );
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  const { stdin } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
  // Until some of it waits in the kernel. More than one piece might not fit there: the end would wait in the client's.
  let sent = 0;
  for (; unreadBytes(Number(new URL(fixture.server.base).port)) === 0; sent += 16 * 1024) {
    stdin.write(Buffer.alloc(16 * 1024));
    for (let turn = 0; turn < 2; turn += 1) await sleep(10);
  }
  assert.ok(sent > MAX_PENDING_INPUT_BYTES);
  assert.equal(client.queued, 0);
  client.destroy();
  while (fixture.server.sessions > 0) await sleep(50);
  assert.equal(await closed.promise, 'client went away');
  assert.equal(bytes, sent);
});

test('pings are answered while output flows, ahead of all but a bounded queue', async () => {
  const over = Promise.withResolvers<void>();
  await using fixture = await startServer(async ({ transport }) => {
    const pump = new Pump();
    transport.start(handlers({ drain: pump.drain, closed: () => over.resolve() }));
    await Promise.race([over.promise, pump.write(transport, 'stdout', chunksOf(1024 * MIB, 6))]);
    return SUCCESS;
  });
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  const { stdout } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
  for (let i = 0; i < 50; i += 1) await client.ping();
  assert.ok(stdout.bytes > OUTBOUND_HIGH_WATER, 'output was flowing');
  client.destroy();
  await over.promise;
});

test('a flood of tiny frames into a session that takes none stays bounded', async () => {
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
  const client = await SpdyClient.connect(fixture.server.issue(ticketOf()));
  const { error } = await client.openSession('error', 'stdin', 'stdout', 'stderr');
  const goOn = await resume.promise;
  const one = Buffer.from('000000030000000178', 'hex');
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  client.send(Buffer.concat(Array.from({ length: frames }, () => one)));
  await sleep(500);
  assert.ok(process.memoryUsage().rss - before < 64 * MIB + MAX_PENDING_INPUT_BYTES, 'memory stays bounded');
  assert.equal(bytes, 0);
  goOn();
  await client.closed;
  client.end();
  assert.equal(bytes, frames);
  assert.equal(error.text, SUCCESS_JSON);
});

test(`${CONNECTIONS} sessions that end in all ways leave no descriptor and no session`, async () => {
  let served = 0;
  const serve: Serve = ({ transport }) =>
    new Promise((resolve) => {
      served += 1;
      transport.start(handlers({ closed: () => resolve(SUCCESS) }));
      if (served % 3 === 0) void transport.finish(SUCCESS).then(() => resolve(SUCCESS));
    });
  await using fixture = await startServer(serve);
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const one = async (i: number): Promise<void> => {
    const client = await SpdyClient.connect(fixture.server.issue(ticketOf({ stdin: false, stderr: false })));
    if (i % 2 === 0) await client.openSession('error', 'stdout').catch(() => undefined);
    if (i % 5 === 0) client.goAway();
    if (i % 3 === 0) client.destroy();
    else client.end();
    await client.closed;
    client.destroy();
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
