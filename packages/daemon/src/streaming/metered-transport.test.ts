// Counting and killing, over transports that are played by the test.
import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ForwardedConnection, PortForwardHandlers, PortForwardTransport } from '../transport/port-forward.ts';
import type { SessionStatus, Transport, TransportHandlers } from '../transport/transport.ts';
import { MeteredForwardTransport } from './metered-forward.ts';
import { MeteredTransport } from './metered-transport.ts';
import { SessionMeter } from './session-meter.ts';
import { failure, SUCCESS } from './session-status.ts';
import { handlers } from './test-server.ts';

const GRACE_MS = 50;

/** A connection that is gone when the test says so, or when it is destroyed. */
class FakeTransport implements Transport {
  readonly protocol = 'fake';
  readonly flushed = true;
  readonly calls: string[] = [];
  handlers: TransportHandlers | undefined;
  room = true;
  readonly #gone = Promise.withResolvers<void>();

  start(to: TransportHandlers): void {
    this.handlers = to;
  }

  write(stream: string, chunk: Uint8Array): boolean {
    this.calls.push(`${stream} ${Buffer.from(chunk).toString()}`);
    return this.room;
  }

  async unsent(): Promise<number> {
    return await Promise.resolve(0);
  }

  pauseInput(): void {
    this.calls.push('pause');
  }

  resumeInput(): void {
    this.calls.push('resume');
  }

  finish(status: SessionStatus): Promise<void> {
    this.calls.push(`finish ${status.status === 'Success' ? 'Success' : status.reason}`);
    return this.#gone.promise;
  }

  destroy(): void {
    this.calls.push('destroy');
    this.gone();
  }

  gone(): void {
    this.#gone.resolve();
  }
}

function metered() {
  const inner = new FakeTransport();
  const meter = new SessionMeter();
  return { inner, meter, transport: new MeteredTransport(inner, meter, GRACE_MS) };
}

test('bytes of every stream are counted and passed on as they are, back-pressure included', async () => {
  const { inner, meter, transport } = metered();
  const seen: unknown[] = [];
  transport.start(
    handlers({
      stdin: (chunk) => seen.push(chunk),
      stdinEof: () => seen.push('eof'),
      resize: (size) => seen.push(size),
      drain: () => seen.push('drain'),
    }),
  );
  const chunk = Buffer.from('input');
  inner.handlers?.stdin(chunk);
  inner.handlers?.resize({ columns: 1, rows: 2 });
  inner.handlers?.stdinEof();
  assert.equal(meter.firstOutputAt, 0);
  assert.equal(transport.write('stdout', Buffer.from('abc')), true);
  const first = meter.firstOutputAt;
  assert.ok(first > 0 && first <= performance.now());
  inner.room = false;
  assert.equal(transport.write('stderr', Buffer.from('e')), false);
  inner.handlers?.drain();
  transport.write('stdout', Buffer.from('d\0'));
  transport.pauseInput();
  transport.resumeInput();
  assert.equal(seen[0], chunk, 'the chunk itself, no copy');
  assert.deepEqual(seen.slice(1), [{ columns: 1, rows: 2 }, 'eof', 'drain']);
  assert.deepEqual(inner.calls, ['stdout abc', 'stderr e', 'stdout d\0', 'pause', 'resume']);
  assert.deepEqual([meter.input, meter.stdout, meter.stderr, meter.output], [5, 5, 1, 6]);
  assert.equal(meter.firstOutputAt, first);
  const finished = transport.finish(failure('SlowClient', 'x'));
  assert.equal(transport.finish(SUCCESS), finished, 'once');
  assert.deepEqual([meter.told, inner.calls.at(-1)], [failure('SlowClient', 'x'), 'finish SlowClient']);
  inner.gone();
  await finished;
});

test('a client that has gone was told nothing, whatever the session says later', async () => {
  const { inner, meter, transport } = metered();
  const reasons: string[] = [];
  transport.start(handlers({ closed: (reason) => reasons.push(reason) }));
  inner.handlers?.closed('client went away');
  assert.equal(transport.write('stdout', Buffer.from('into the void')), true);
  inner.gone();
  await transport.finish(SUCCESS);
  assert.deepEqual([reasons, meter.lost, meter.told, meter.output], [['client went away'], 'client went away', undefined, 0]);
});

test('killed: the client is told, the session thinks that it has gone, nothing passes any more, what stays is cut off', async () => {
  const { inner, meter, transport } = metered();
  const reasons: string[] = [];
  transport.start(handlers({ stdin: () => assert.fail('input after the end'), closed: (reason) => reasons.push(reason) }));
  transport.kill('ops');
  assert.deepEqual(reasons, ['killed by ops']);
  assert.deepEqual(meter.told, failure('SessionKilled', 'the session was ended by ops'));
  inner.handlers?.stdin(Buffer.from('x'));
  inner.handlers?.closed('client closed with 1000');
  assert.equal(transport.write('stdout', Buffer.from('x')), true);
  assert.deepEqual(reasons, ['killed by ops']);
  assert.deepEqual([meter.input, meter.output, meter.lost], [0, 0, undefined]);
  const began = performance.now();
  await transport.finish(SUCCESS);
  assert.ok(performance.now() - began >= GRACE_MS - 5);
  assert.deepEqual(inner.calls, ['finish SessionKilled', 'destroy']);
});

test('killed: a client that closes in time is not cut off', async () => {
  const { inner, transport } = metered();
  transport.start(handlers({}));
  transport.kill('ops');
  inner.gone();
  await transport.finish(SUCCESS);
  await sleep(2 * GRACE_MS);
  assert.deepEqual(inner.calls, ['finish SessionKilled']);
});

test('killed before it was started, or while it waits for its client', async () => {
  const early = metered();
  early.transport.kill('ops');
  const closed = Promise.withResolvers<string>();
  early.transport.start(handlers({ closed: closed.resolve }));
  assert.equal(await closed.promise, 'killed by ops');
  const late = metered();
  late.transport.start(handlers({}));
  const finished = late.transport.finish(SUCCESS);
  late.transport.kill('ops');
  await finished;
  assert.deepEqual(late.inner.calls, ['finish Success', 'destroy']);
  assert.deepEqual([late.meter.killedBy, late.meter.told], [undefined, SUCCESS], 'it had ended by itself');
});

class FakeForward implements PortForwardTransport {
  readonly protocol = 'fake-forward';
  readonly calls: string[] = [];
  handlers: PortForwardHandlers | undefined;
  readonly #gone = Promise.withResolvers<void>();

  start(to: PortForwardHandlers): void {
    this.handlers = to;
  }

  finish(): Promise<void> {
    this.calls.push('finish');
    return this.#gone.promise;
  }

  destroy(): void {
    this.calls.push('destroy');
    this.#gone.resolve();
  }

  /** A connection; what comes back is the client's end of it. */
  connect(port: number) {
    const [client, data] = duplexPair();
    client.on('error', () => undefined);
    const connection: ForwardedConnection = { port, data, fail: (message) => this.calls.push(`fail ${port} ${message}`) };
    return { client, connect: () => this.handlers?.connection(connection) };
  }
}

function forwarded() {
  const inner = new FakeForward();
  const meter = new SessionMeter();
  return { inner, meter, transport: new MeteredForwardTransport(inner, meter, GRACE_MS) };
}

test('port-forward: every byte of every connection is counted, halves stay apart', async () => {
  const { inner, meter, transport } = forwarded();
  const served: Promise<void>[] = [];
  transport.start({
    // An echo that says good-bye: by write, by end with data, and by pipe.
    connection: ({ data, port }) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      served.push(promise);
      data.once('close', resolve);
      if (port === 1) {
        data.pipe(data, { end: false });
        data.once('end', () => data.end('schön', 'utf8'));
      } else data.once('end', () => data.end(Buffer.alloc(10))).resume();
    },
    closed: () => undefined,
  });
  const pieces = [1, 1_000, 100_000, 16_384, 7];
  const total = pieces.reduce((sum, size) => sum + size, 0);
  let echoed = 0;
  for (const port of [1, 2]) {
    const { client, connect } = inner.connect(port);
    // The first piece is there before the session hears of the connection.
    client.write(Buffer.alloc(pieces[0] ?? 0));
    await sleep(1);
    connect();
    client.on('data', (chunk: Buffer) => {
      echoed += chunk.length;
    });
    for (const size of pieces.slice(1)) client.write(Buffer.alloc(size));
    client.end();
  }
  await Promise.all(served);
  const goodbye = Buffer.byteLength('schön');
  assert.deepEqual([meter.connections, meter.input, meter.forwarded], [2, 2 * total, total + goodbye + 10]);
  assert.equal(echoed, meter.forwarded);
  assert.ok(meter.firstOutputAt > 0);
});

test('port-forward killed: open connections get the reason, then all are gone', async () => {
  const { inner, meter, transport } = forwarded();
  const reasons: string[] = [];
  const open: ForwardedConnection[] = [];
  transport.start({ connection: (connection) => open.push(connection), closed: (reason) => reasons.push(reason) });
  for (const port of [80, 443]) inner.connect(port).connect();
  const [first, second] = open;
  first?.data.on('error', () => undefined).destroy();
  await sleep(1);
  transport.kill('ops');
  assert.deepEqual(reasons, ['killed by ops']);
  assert.equal(second?.data.destroyed, false, 'the reason is still on its way');
  await transport.finish();
  await sleep(1);
  assert.equal(second?.data.destroyed, true);
  assert.deepEqual(inner.calls, ['fail 443 the session was ended by ops', 'finish', 'destroy']);
  assert.deepEqual([meter.killedBy, meter.told?.status], ['ops', 'Failure']);
});
