import assert from 'node:assert/strict';
import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collectGarbage } from '../testing/collect-garbage.ts';
import { modelHub } from '../testing/model-hub.ts';
import { ModelShim } from '../testing/model-shim.ts';
import type { Cursor, CursorEnd } from './cursor.ts';
import { ShimSilent } from './shim.ts';

/** A small generator with a seed: a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}

/** As a connection: it keeps what it is given, uncopied, until its peer takes it; a lazy one, until there is room again or it is looked at. */
class Client {
  readonly got: Buffer[] = [];
  readonly lazy: boolean;
  left = false;
  #sent: Buffer[] = [];
  cursor: Cursor | undefined;
  end: CursorEnd | undefined;
  room = Number.POSITIVE_INFINITY;

  constructor(lazy = false) {
    this.lazy = lazy;
  }

  write(_stream: 1 | 2, data: Buffer): boolean {
    assert.equal(this.end, undefined, 'nothing comes after the end');
    this.#sent.push(data);
    if (!this.lazy) this.flush();
    this.room -= data.length;
    return this.room > 0;
  }

  ended(end: CursorEnd): void {
    assert.equal(this.end, undefined, 'the end comes once');
    this.end = end;
  }

  flushed(): boolean {
    return this.#sent.length === 0;
  }

  flush(): void {
    for (const data of this.#sent) this.got.push(Buffer.from(data));
    this.#sent = [];
  }

  leave(): void {
    this.left = true;
    this.cursor?.close();
  }

  give(bytes: number): void {
    this.flush();
    const waited = this.room <= 0;
    this.room = Math.max(this.room, 0) + bytes;
    if (waited) this.cursor?.resume();
  }
}

function bytesOf(shim: ModelShim, from: number, stdout: boolean, stderr: boolean): Buffer {
  const parts: Buffer[] = [];
  for (const { stream, offset, data } of shim.pieces) {
    if (offset + data.length <= from || !(stream === 1 ? stdout : stderr)) continue;
    parts.push(offset < from ? data.subarray(from - offset) : data);
  }
  return Buffer.concat(parts);
}

function content(next: (below: number) => number): Buffer {
  const sizes = [1, 3, 80, 1000, 4096, 5000, 20_000, 65_536];
  const data = Buffer.alloc(1 + next(sizes[next(sizes.length)] ?? 1));
  for (let i = 0; i < data.length; i++) data[i] = next(40) === 0 ? 10 : next(256);
  return data;
}

async function scenario(seed: number, withLog: boolean): Promise<void> {
  const next = random(seed);
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const logPath = withLog ? join(folder, '0.log') : undefined;
  const shim = new ModelShim(logPath, 64 * 1024);
  const liveBufferBytes = 128 * 1024;
  const ringBytes = 64 * 1024;
  const hub = modelHub(shim, {
    logPath,
    liveBufferBytes,
    ringBytes,
    // Some wait as long as they would, some fall asleep at once or after a little output.
    ...(next(3) === 0 ? {} : { linger: { ms: next(2), bytes: next(100_000) } }),
  });
  const clients: { client: Client; from: number; stdout: boolean; stderr: boolean }[] = [];
  try {
    for (let step = 0; step < 300; step++) {
      const what = next(20);
      if (what < 10) {
        const data = content(next);
        if (withLog || data.length <= shim.room) shim.write(next(3) === 0 ? 2 : 1, data);
      } else if (what === 10 && clients.length < 6) {
        const claim = await hub.claim();
        if (next(2) === 0) await sleep(0);
        const fromStart = next(3) === 0;
        const client = new Client(next(2) === 0);
        if (next(2) === 0) client.room = next(50_000);
        const stdout = next(4) !== 0;
        const stderr = next(4) !== 0;
        // Without a log what is kept is bounded: it is given without a hole from wherever it begins.
        clients.push({ client, from: !fromStart ? claim.offset : withLog ? 0 : hub.live.tail, stdout, stderr });
        client.cursor = hub.open(claim, fromStart ? 'start' : 'now', { stdout, stderr }, client);
      } else if (what === 11 && withLog) {
        shim.rotate();
        await hub.logReopened();
      } else if (what === 12 && withLog) {
        shim.late = next(2) === 0;
        shim.pump();
      } else if (what < 17) {
        clients[next(clients.length)]?.client.give(next(100_000));
      } else if (what === 17 && next(8) === 0) {
        clients[next(clients.length)]?.client.leave();
      } else {
        await sleep(0);
      }
    }
    shim.late = false;
    shim.pump();
    shim.exit();
    const deadline = Date.now() + 60_000;
    while (clients.some(({ client }) => client.end === undefined && !client.left)) {
      assert.ok(Date.now() < deadline, 'every cursor ends');
      for (const { client } of clients) client.give(30_000);
      await sleep(1);
    }
    for (const [index, { client, from, stdout, stderr }] of clients.entries()) {
      const what = `seed ${seed} client ${index}`;
      client.flush();
      if (client.left) {
        const got = Buffer.concat(client.got);
        assert.ok(bytesOf(shim, from, stdout, stderr).subarray(0, got.length).equals(got), `${what}, which left`);
        continue;
      }
      assert.equal(
        client.end?.kind,
        'exit',
        `${what}: ${JSON.stringify(client.end, (_, v: unknown) => (typeof v === 'bigint' ? `${v}` : v))}`,
      );
      const wanted = bytesOf(shim, from, stdout, stderr);
      const got = Buffer.concat(client.got);
      const at = got.findIndex((byte, i) => byte !== wanted[i]);
      assert.equal(got.length, wanted.length, `${what}: differs at ${at}`);
      assert.ok(got.equals(wanted), what);
    }
    assert.equal(hub.cursorCount, 0);
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
}

test('every cursor gets every byte, whatever the others, the ring and rotations do (with a log)', async () => {
  for (let seed = 1; seed <= 60; seed++) await scenario(seed, true);
});

test('every cursor gets every byte of a container without a log: the slowest holds it back', async () => {
  for (let seed = 1; seed <= 40; seed++) await scenario(seed, false);
});

test('without a log the shim hears within moments of the little that a slow client takes', async () => {
  const shim = new ModelShim(undefined, 64 * 1024);
  const hub = modelHub(shim, {});
  const client = new Client();
  client.room = 1;
  client.cursor = hub.open(await hub.claim(), 'now', { stdout: true, stderr: true }, client);
  while (shim.room > 0) shim.write(1, Buffer.alloc(1000, 'x'));
  await sleep(0);
  for (let taken = 1; taken <= 3; taken++) {
    const { room } = shim;
    // Far less than what is worth a word while output flows.
    client.give(1);
    const began = performance.now();
    while (shim.room === room) {
      assert.ok(performance.now() - began < 10_000, 'it hears nothing, and would take the daemon for stuck');
      await sleep(20);
    }
    assert.ok(shim.room - room < 16 * 1024, 'no more than it has taken');
  }
  client.leave();
});

test('without a log a session beside one that holds the container back gets nothing that was written before it', async () => {
  const shim = new ModelShim(undefined, 64 * 1024);
  const hub = modelHub(shim, {});
  const all = { stdout: true, stderr: true };
  const slow = new Client();
  slow.room = 1;
  slow.cursor = hub.open(await hub.claim(), 'now', all, slow);
  while (shim.room > 0) shim.write(1, Buffer.alloc(1000, 'x'));
  // What the shim keeps and the daemon has no room for.
  for (let i = 0; i < 40; i++) shim.write(1, Buffer.alloc(1000, 'y'));
  const before = shim.next;
  const late = new Client();
  late.cursor = hub.open(await hub.claim(), 'now', all, late);
  shim.write(2, Buffer.from('new'));
  assert.ok(hub.live.head < before);
  slow.give(Number.POSITIVE_INFINITY);
  await sleep(0);
  assert.equal(Buffer.concat(late.got).toString(), 'new');
  shim.exit();
  for (const { end } of [slow, late]) assert.equal(end?.kind, 'exit');
  assert.ok(Buffer.concat(slow.got).equals(bytesOf(shim, 0, true, true)));
});

test('without a log a client that lets us wait is ended once nothing moves on its way any more', async () => {
  const shim = new ModelShim(undefined, 64 * 1024);
  const hub = modelHub(shim, { stallMs: 1500 });
  const client = new Client();
  client.room = 1;
  let [unsent, looks, moves] = [1_000_000, 0, true];
  const end = (): CursorEnd | undefined => client.end;
  const sink = {
    write: (stream: 1 | 2, data: Buffer) => client.write(stream, data),
    ended: (end: CursorEnd) => client.ended(end),
    unsent: async () => {
      looks += 1;
      if (moves) unsent -= 1000;
      return await Promise.resolve(unsent);
    },
  };
  client.cursor = hub.open(await hub.claim(), 'now', { stdout: true, stderr: true }, sink);
  while (shim.room > 0) shim.write(1, Buffer.alloc(1000, 'x'));
  while (looks < 5) await sleep(20);
  assert.equal(end(), undefined);
  moves = false;
  const began = performance.now();
  while (end() === undefined) {
    assert.ok(performance.now() - began < 20_000, 'it holds the container for ever');
    await sleep(20);
  }
  const ended = end();
  assert.equal(ended?.kind === 'failed' && ended.reason, 'SlowClient');
});

test('from the start without a log: what the ring holds, for the first session and for later ones', async () => {
  const ringBytes = 64 * 1024;
  const shim = new ModelShim(undefined, ringBytes);
  const hub = modelHub(shim, { ringBytes });
  const everything = Buffer.alloc(200_000, 'old');
  const all = { stdout: true, stderr: true };
  const write = (bytes: number): void => {
    for (let at = 0; at < bytes; at += 1000) shim.write(1, everything.subarray(at, Math.min(at + 1000, bytes)));
  };
  const attach = async (from: 'now' | 'start'): Promise<Client> => {
    const client = new Client();
    client.cursor = hub.open(await hub.claim(), from, all, client);
    await sleep(0);
    return client;
  };
  const bytes = (client: Client): number => client.got.reduce((sum, data) => sum + data.length, 0);
  write(200_000);
  const first = await attach('start');
  const now = await attach('now');
  assert.equal(bytes(first), 65_000, 'whole pieces that the ring holds');
  assert.equal(bytes(now), 0);
  write(300);
  assert.deepEqual([bytes(first), bytes(now)], [65_300, 300]);
  for (let round = 0; round < 20; round++) write(100_000);
  const later = await attach('start');
  assert.ok(bytes(later) >= ringBytes && bytes(later) < 3 * ringBytes, `${bytes(later)} bytes`);
  assert.ok(hub.bufferedBytes < 4 * ringBytes, 'what is kept stays bounded');
  shim.exit();
  for (const client of [first, now, later]) {
    assert.equal(client.end?.kind, 'exit');
    assert.ok(Buffer.concat(client.got).equals(bytesOf(shim, shim.next - bytes(client), true, true)));
  }
  assert.equal(bytes(now), 300 + 20 * 100_000);
});

test('a client that lags behind further than allowed is told so', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const shim = new ModelShim(join(folder, '0.log'), 64 * 1024);
  try {
    const logPath = join(folder, '0.log');
    const hub = modelHub(shim, { logPath, liveBufferBytes: 64 * 1024, maxLagBytes: 500_000, stallMs: 1000 });
    const client = new Client();
    client.room = 1;
    client.cursor = hub.open(await hub.claim(), 'now', { stdout: true, stderr: true }, client);
    for (let i = 0; i < 60; i++) {
      shim.write(1, Buffer.alloc(10_000, 'x'));
      await sleep(0);
    }
    assert.equal(client.end?.kind === 'failed' && client.end.reason, 'LagLimit');
    assert.ok(hub.bufferedBytes < 200_000, 'what the hub holds stays bounded');
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});

test('from the start, what was rotated away is passed over; who has begun, or began with what is new, is told that it is lost', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const logPath = join(folder, '0.log');
  const shim = new ModelShim(logPath, 64 * 1024);
  const line = (n: number): Buffer => Buffer.from(`${String(n).padStart(99)}\n`);
  const write = (from: number, to: number): void => {
    for (let n = from; n < to; n++) shim.write(1, line(n));
  };
  try {
    write(0, 2000);
    shim.rotate();
    write(2000, 4000);
    shim.rotate();
    write(4000, 6000);
    // As kubelet does: the oldest files go, compressed or deleted.
    await rm(`${logPath}.1`);
    const hub = modelHub(shim, { logPath, liveBufferBytes: 64 * 1024, linger: { ms: 0, bytes: 0 } });
    const attach = async (from: 'now' | 'start', room = Number.POSITIVE_INFINITY): Promise<Client> => {
      const client = new Client();
      client.room = room;
      client.cursor = hub.open(await hub.claim(), from, { stdout: true, stderr: false }, client);
      return client;
    };
    const text = (client: Client): string => Buffer.concat(client.got).toString();
    const lines = (from: number, to: number): string =>
      Array.from({ length: to - from }, (_, at) => String(line(from + at))).join('');

    const all = await attach('start');
    while (text(all).length < 400_000 && all.end === undefined) await sleep(1);
    assert.equal(text(all), lines(2000, 6000));

    // A file that is not open to anybody goes while they are on their way: what they have not read is a hole then.
    const late = await attach('start', 1);
    while (late.got.length === 0) await sleep(1);
    all.leave();
    const file = hub.files;
    assert.ok(file !== undefined);
    file.borrow = async () => await Promise.resolve(undefined);
    late.give(Number.POSITIVE_INFINITY);
    const now = await attach('now', 1);
    write(6000, 9000);
    now.give(Number.POSITIVE_INFINITY);
    while (late.end === undefined || now.end === undefined) await sleep(1);
    for (const client of [late, now]) {
      assert.equal(client.end?.kind === 'failed' && client.end.reason, 'OutputLost');
      assert.match(client.end?.kind === 'failed' ? client.end.message : '', /the log file that held it is gone/);
    }
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});

test('a shim that leaves between saying that a line is only in its ring and being asked to write it: the log has it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const logPath = join(folder, '0.log');
  const shim = new ModelShim(logPath, 64 * 1024);
  try {
    const hub = modelHub(shim, { logPath, liveBufferBytes: 64 * 1024 });
    const client = new Client();
    client.room = 1;
    client.cursor = hub.open(await hub.claim(), 'now', { stdout: true, stderr: true }, client);
    shim.write(1, Buffer.from('begin '));
    shim.write(1, Buffer.alloc(5_000, 'of a line'));
    // What the shim says to a daemon that was late.
    hub.gap(6, shim.next);
    const locate = shim.locate.bind(shim);
    let answered = false;
    shim.locate = async (offset) => {
      const where = await locate(offset);
      if (where.kind === 'ring' && offset !== undefined && !answered) {
        answered = true;
        shim.exit();
        await shim.left;
      }
      return where;
    };
    client.give(Number.POSITIVE_INFINITY);
    while (client.end === undefined) await sleep(1);
    assert.ok(answered);
    assert.equal(client.end.kind, 'exit', client.end.kind === 'failed' ? client.end.message : '');
    assert.ok(Buffer.concat(client.got).equals(Buffer.concat([Buffer.from('begin '), Buffer.alloc(5_000, 'of a line')])));
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});

test('from the start, a file that is gone behind one that is there is a hole, also for who wants nothing of what that one has', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const logPath = join(folder, '0.log');
  const shim = new ModelShim(logPath, 64 * 1024);
  try {
    for (let file = 0; file < 3; file++) {
      if (file > 0) shim.rotate();
      for (let n = 0; n < 2000; n++) shim.write(1, Buffer.from(`${String(n).padStart(99)}\n`));
    }
    await rm(`${logPath}.2`);
    const hub = modelHub(shim, { logPath, liveBufferBytes: 64 * 1024, linger: { ms: 0, bytes: 0 } });
    const client = new Client();
    client.room = Number.POSITIVE_INFINITY;
    client.cursor = hub.open(await hub.claim(), 'start', { stdout: false, stderr: true }, client);
    while (client.end === undefined) await sleep(1);
    assert.equal(client.end.kind === 'failed' && client.end.reason, 'OutputLost');
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});

test('a session that is 40 deleted log files behind gets every byte, and the files are closed behind it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const logPath = join(folder, '0.log');
  const shim = new ModelShim(logPath, 64 * 1024);
  const openFiles = async (): Promise<number> => {
    const targets = await Promise.all(
      (await readdir('/proc/self/fd')).map(async (fd) => await readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    return targets.filter((target) => target.startsWith(folder)).length;
  };
  try {
    const hub = modelHub(shim, { logPath, liveBufferBytes: 64 * 1024, linger: { ms: 0, bytes: 0 } });
    const client = new Client();
    client.room = 1;
    client.cursor = hub.open(await hub.claim(), 'now', { stdout: true, stderr: true }, client);
    for (let n = 1; n <= 40; n++) {
      for (let at = 0; at < 10; at++) shim.write(1, Buffer.from(`${String(n * 10 + at).padStart(9_999)}\n`));
      shim.rotate();
      await hub.logReopened();
      await rm(`${logPath}.${n}`);
    }
    // Forty of the hub and the one in use, which the model has open as well.
    assert.equal(await openFiles(), 42);
    client.give(Number.POSITIVE_INFINITY);
    shim.exit();
    while (client.end === undefined) await sleep(1);
    assert.equal(client.end.kind, 'exit');
    assert.ok(Buffer.concat(client.got).equals(bytesOf(shim, 0, true, true)));
    while ((await openFiles()) > 1) await sleep(1);
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});

test('memory goes round for a client whose connection is done with a write only when the event loop has gone on, as under TLS', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-hub-'));
  const logPath = join(folder, '0.log');
  const shim = new ModelShim(logPath, 64 * 1024);
  try {
    for (let n = 0; n < 40_000; n++) shim.write(1, Buffer.from(`${String(n).padStart(99)}\n`));
    const hub = modelHub(shim, { logPath });
    const memories = new Set<ArrayBufferLike>();
    let [got, underWay, end] = [0, 0, undefined as CursorEnd | undefined];
    const sink = {
      write: (_stream: 1 | 2, data: Buffer) => {
        got += data.length;
        memories.add(data.buffer);
        underWay += 1;
        setImmediate(() => (underWay -= 1));
        return true;
      },
      flushed: () => underWay === 0,
      ended: (how: CursorEnd) => (end = how),
    };
    hub.open(await hub.claim(), 'start', { stdout: true, stderr: true }, sink);
    shim.exit();
    while (end === undefined) await sleep(1);
    assert.equal(got, shim.next);
    // Of 4 MB. One that is read to, one that is on its way, and some of the live buffer.
    assert.ok(memories.size <= 6, `${memories.size} blocks`);
  } finally {
    shim.close();
    await rm(folder, { recursive: true });
  }
});

test('single bytes of both streams in turn cost little more than they are, and come as they were', async () => {
  const ringBytes = 64 * 1024;
  const BYTES = 100_000;
  const shim = new ModelShim(undefined, ringBytes);
  const hub = modelHub(shim, { ringBytes });
  const got: [stream: number, data: Buffer][] = [];
  let room = false;
  const cursor = hub.open(
    await hub.claim(),
    'now',
    { stdout: true, stderr: true },
    { write: (stream, data) => (got.push([stream, Buffer.from(data)]), room), ended: () => undefined },
  );
  await Promise.resolve();
  collectGarbage();
  const before = process.memoryUsage().arrayBuffers;
  for (let n = 0; n < BYTES; n++) {
    const length = n % 100 === 99 ? 3 : 1;
    shim.write(n % 2 === 0 ? 1 : 2, Buffer.alloc(length, n));
  }
  assert.ok(cursor.lag > BYTES - 10, 'the client takes nothing');
  assert.ok(hub.bufferedBytes < 3 * BYTES, `${hub.bufferedBytes} bytes for ${BYTES}`);
  collectGarbage();
  // The model keeps each piece twice, 9 bytes for one of them.
  assert.ok(process.memoryUsage().arrayBuffers - before < 12 * BYTES);
  room = true;
  cursor.resume();
  assert.equal(cursor.lag, 0);
  for (const stream of [1, 2]) {
    const received = Buffer.concat(got.filter(([of]) => of === stream).map(([, data]) => data));
    assert.ok(received.equals(bytesOf(shim, 0, stream === 1, stream === 2)));
  }
  assert.equal(got.length, shim.pieces.length, 'each change of the stream is a piece of its own');
  cursor.close();
  shim.exit();
});

test('once nobody is attached the hub waits for somebody to come back: for a time, for some output, or until the container ends', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const LINGER_MS = 5_000;
  const MIB = 1024 * 1024;
  const shim = new ModelShim(undefined, 64 * 1024);
  const subscribed = t.mock.method(shim, 'subscribe');
  const left = t.mock.method(shim, 'unsubscribe');
  const calls = (): number[] => [subscribed.mock.callCount(), left.mock.callCount()];
  const hub = modelHub(shim, {});
  const visit = async (): Promise<Client> => {
    const client = new Client();
    client.cursor = hub.open(await hub.claim(), 'now', { stdout: true, stderr: true }, client);
    await Promise.resolve();
    return client;
  };

  (await visit()).leave();
  t.mock.timers.tick(LINGER_MS - 1);
  assert.deepEqual(calls(), [1, 0]);
  shim.write(1, Buffer.from('nobody is there'));
  const second = await visit();
  t.mock.timers.tick(2 * LINGER_MS);
  assert.deepEqual(calls(), [1, 0], 'it is not left while somebody is there');
  shim.write(1, Buffer.from('somebody is'));
  assert.equal(Buffer.concat(second.got).toString(), 'somebody is');

  second.leave();
  t.mock.timers.tick(LINGER_MS);
  assert.deepEqual(calls(), [1, 1], 'time is over');
  assert.equal(hub.bufferedBytes, 0);

  (await visit()).leave();
  for (let written = 0; written < MIB - 1000; written += 1000) shim.write(1, Buffer.alloc(1000, 'x'));
  assert.deepEqual(calls(), [2, 1]);
  shim.write(1, Buffer.alloc(2000, 'x'));
  assert.deepEqual(calls(), [2, 2], 'that is enough');
  t.mock.timers.tick(LINGER_MS);
  assert.deepEqual(calls(), [2, 2]);

  (await visit()).leave();
  hub.release(await hub.claim());
  shim.exit();
  assert.equal(hub.bufferedBytes, 0);
  t.mock.timers.tick(LINGER_MS);
  assert.deepEqual(calls(), [3, 2], 'a shim that ends is not told');
});

/** From now on the shim answers LOCATE only once `answer` is called. */
async function silenced(t: TestContext, shim: ModelShim) {
  const silence = Promise.withResolvers<void>();
  const now = await shim.locate(undefined);
  const asked = t.mock.method(shim, 'locate', async () => {
    await silence.promise;
    return now;
  });
  return { asked, answer: silence.resolve };
}

test('a shim that does not answer: the claim fails, and the hub goes to sleep once the answer has come', async (t) => {
  const shim = new ModelShim(undefined, 64 * 1024);
  const left = t.mock.method(shim, 'unsubscribe');
  const hub = modelHub(shim, { answerMs: 10, linger: { ms: 0, bytes: 0 } });
  const { asked, answer } = await silenced(t, shim);
  for (let i = 0; i < 2; i++) await assert.rejects(hub.claim(), ShimSilent);
  assert.equal(asked.mock.callCount(), 1, 'it is asked once');
  answer();
  const claim = await hub.claim();
  await sleep(5);
  assert.equal(left.mock.callCount(), 0, 'somebody is there');
  hub.release(claim);
  await sleep(5);
  assert.equal(left.mock.callCount(), 1);
});

test('a shim that answers when nobody waits any longer: the hub listens no longer than it does for who may come back', async (t) => {
  const shim = new ModelShim(undefined, 64 * 1024);
  const calls = [t.mock.method(shim, 'subscribe'), t.mock.method(shim, 'unsubscribe')];
  const hub = modelHub(shim, { answerMs: 10, linger: { ms: 0, bytes: 0 } });
  const { answer } = await silenced(t, shim);
  await assert.rejects(hub.claim(), ShimSilent);
  answer();
  await sleep(20);
  assert.deepEqual(
    calls.map(({ mock }) => mock.callCount()),
    [1, 1],
  );
  assert.equal(hub.stats.active.size, 0);
});
