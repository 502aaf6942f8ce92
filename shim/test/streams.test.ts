/** Bytes in both directions: exactness, flow control, the ring, and daemons that are slow, stopped or dead. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container, logBytes, readLog, SKIP, until } from './support/container.ts';
import { NEXT, Peer } from './support/peer.ts';

const options = { skip: SKIP };
const MIB = 1024 * 1024;
/** A numbered stream: any byte missing, doubled or moved is seen. */
const numbers = (from: number, to: number): string => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}\n`).join('');

test('all 256 byte values and runs of NUL, both ways', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const peer = await container.attach();
  const data = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.alloc(100_000), Buffer.from('end')]);
  peer.stdin(data);
  peer.closeStdin();
  const exit = await peer.exit();
  assert.equal(exit.offset, data.length);
  assert.ok(Buffer.concat(peer.output[1]).equals(data));
  assert.ok(logBytes(readLog(container.log)).equals(data));
  assert.equal(peer.last(0x85)[0], 1);
  await peer.leave();
});

test('stdin of 64 MiB by credit, and its end', options, async () => {
  await using container = new Container({ args: ['sha256sum'], stdin: true });
  const peer = await container.attach();
  const hash = createHash('sha256');
  const total = 64 * MIB;
  for (let sent = 0; sent < total; ) {
    await peer.until(() => peer.credit - sent > 0);
    const part = Buffer.alloc(Math.min(65536, peer.credit - sent, total - sent), sent % 251);
    hash.update(part);
    peer.stdin(part);
    sent += part.length;
  }
  peer.closeStdin();
  await peer.untilOutput(hash.digest('hex'));
  await peer.exit();
  await peer.leave();
});

test('a container that does not read holds back only its input', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'while :; do echo tick; sleep 0.05; done'], stdin: true });
  const peer = await container.attach();
  peer.stdin(Buffer.alloc(262144));
  const state = await peer.stdinState();
  assert.equal(state.queued + state.unread, 262144);
  const ticks = peer.text().length;
  await peer.until(() => peer.text().length > ticks + 25);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('a container that closes its stdin says so, the loss of the daemon does not close it', options, async () => {
  await using container = new Container({
    args: ['sh', '-c', 'read line; echo got $line; exec 0</dev/null; sleep 1000'],
    stdin: true,
  });
  const first = await container.attach();
  await first.end();
  const peer = await container.connect();
  peer.subscribe(0);
  assert.equal(peer.welcome.stdin, 1);
  peer.stdin('hello\n');
  await peer.untilOutput('got hello');
  await peer.until(() => peer.has(0x85));
  assert.equal(peer.last(0x85)[0], 2);
  assert.equal((await peer.stdinState()).state, 2);
  await peer.end();
  const later = await container.connect();
  assert.deepEqual([later.welcome.stdin, later.welcome.credit], [2, 0]);
  await later.signal(9);
  await later.exit();
  await later.leave();
});

test('the pipe of stdin is offered while nothing is queued for it, and what is written there arrives', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const peer = await container.attach();
  const offered = peer.offeredPipe;
  assert.ok(offered !== undefined);
  assert.equal(statSync(offered.path, { bigint: true }).ino, offered.inode);
  const input = openSync(offered.path, 'w');
  writeSync(input, 'straight in, ');
  peer.stdin('through the shim');
  closeSync(input);
  peer.closeStdin();
  await peer.until(() => peer.has(0x85));
  await peer.exit();
  assert.equal(peer.text(), 'straight in, through the shim');
  await peer.leave();
});

test(
  'the pipe of stdin is not offered while something waits for it, when it is closed, and where there is none',
  options,
  async () => {
    await using deaf = new Container({ args: ['sleep', '1000'], stdin: true });
    const first = await deaf.attach();
    assert.ok(first.offeredPipe !== undefined);
    first.stdin(Buffer.alloc(100_000));
    assert.ok((await first.stdinState()).queued > 0);
    const second = await deaf.connect();
    assert.equal(second.offeredPipe, undefined);
    second.closeStdin();
    const third = await deaf.connect();
    assert.equal(third.offeredPipe, undefined);
    await third.signal(9);
    await third.exit();
    await third.leave();

    await using closed = new Container({ args: ['sleep', '1000'], stdin: true });
    const closer = await closed.attach();
    closer.closeStdin();
    await closer.until(() => closer.has(0x85));
    await using none = new Container({ args: ['sleep', '1000'] });
    await using terminal = new Container({ args: ['sleep', '1000'], stdin: true, tty: true });
    await none.start();
    await terminal.start();
    for (const container of [closed, none, terminal]) {
      const peer = await container.connect();
      assert.equal(peer.offeredPipe, undefined);
      await peer.signal(9);
      await peer.exit();
      await peer.leave();
    }
  },
);

const PAGE = Buffer.alloc(4096);

/** Writes pages into a pipe without waiting for room, for so long or until it is full. Gives the bytes that it has taken. */
function fill(path: string, ms?: number): number {
  const pipe = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const end = performance.now() + (ms ?? 0);
  let bytes = 0;
  let full = false;
  try {
    while (ms === undefined ? !full : performance.now() < end) {
      try {
        bytes += writeSync(pipe, PAGE);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
        full = true;
      }
    }
    return bytes;
  } finally {
    closeSync(pipe);
  }
}

/** Stops a process; it does nothing more once this is done. */
async function stop(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')), `process ${pid} has stopped`);
}

/** Loads the stdin of a program that reads, until the pipe is large. `total` counts what is written. */
async function growStdin(peer: Peer): Promise<{ readonly path: string; readonly size: () => Promise<number>; total: number }> {
  const { path } = peer.offeredPipe ?? assert.fail('no pipe is offered');
  const { initPid } = peer.welcome;
  const input = {
    path,
    total: 0,
    /** What the pipe holds now, with nothing in it before. */
    size: async (): Promise<number> => {
      await until(async () => (await peer.stdinState()).unread === 0, 'all input is read');
      await stop(initPid);
      const bytes = fill(path);
      process.kill(initPid, 'SIGCONT');
      input.total += bytes;
      return bytes;
    },
  };
  assert.equal(await input.size(), 64 * 1024);
  await until(async () => {
    input.total += fill(path, 200);
    return (await input.size()) === 256 * 1024;
  }, 'the pipe has grown');
  return input;
}

for (const exec of [false, true]) {
  test(
    `the pipe of stdin grows while much goes through it, and gives that back when it is quiet: ${exec ? 'exec' : 'init'}`,
    options,
    async () => {
      await using container = new Container({ args: exec ? ['sleep', '1000'] : ['sha256sum'], stdin: !exec });
      const peer = exec ? await startedExec(container) : await container.attach();
      const input = await growStdin(peer);
      // A program that reads nothing keeps what is in the pipe, all of it.
      await until(async () => (await peer.stdinState()).unread === 0, 'all input is read');
      await stop(peer.welcome.initPid);
      input.total += fill(input.path);
      await sleep(2500);
      process.kill(peer.welcome.initPid, 'SIGCONT');
      await until(async () => {
        await sleep(2500);
        return (await input.size()) === 64 * 1024;
      }, 'the pipe has its first size again');
      peer.closeStdin();
      await peer.exit();
      const hash = createHash('sha256');
      for (let left = input.total; left > 0; left -= PAGE.length) hash.update(PAGE);
      assert.equal(peer.text(), `${hash.digest('hex')}  -\n`);
      await peer.leave();
    },
  );
}

async function startedExec(container: Container): Promise<Peer> {
  await container.attach();
  const peer = await container.exec(['sha256sum'], 'stdin=1');
  peer.subscribe(0);
  peer.fromStart = true;
  return peer;
}

test('a program that keeps its stdin after the end does not keep a large pipe', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'sha256sum; sleep 1000'], stdin: true });
  const peer = await container.attach();
  const { path } = peer.offeredPipe ?? assert.fail('no pipe is offered');
  const { initPid } = peer.welcome;
  // More than its first size lies in it, which only a large one holds.
  await until(async () => {
    fill(path, 200);
    return (await peer.stdinState()).unread > 128 * 1024;
  }, 'the pipe has grown');
  peer.closeStdin();
  await peer.until(() => peer.has(0x85));
  await peer.until(() => peer.text().endsWith('-\n'));
  assert.equal(fill(`/proc/${initPid}/fd/0`), 64 * 1024);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('while nothing happens the shim sleeps, with stdin too', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const peer = await container.attach();
  const wakeups = (): string | undefined =>
    /^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${peer.welcome.shimPid}/status`, 'utf8'))?.[1];
  peer.stdin('hello');
  await peer.until(() => peer.text() === 'hello');
  // What has been busy is looked at once more after a second; one that is late is given three more.
  await sleep(4000);
  const before = wakeups();
  await sleep(3000);
  assert.equal(wakeups(), before);
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});

for (const log of [true, false]) {
  test(
    `a pipe grows while much goes through it, and gives that back when it is quiet: output, ${log ? 'with' : 'without'} a log`,
    options,
    async () => {
      const script = 'while read line; do head -c 16777216 /dev/zero; done';
      await using container = new Container({ args: ['sh', '-c', script], stdin: true, log });
      const peer = await container.attach();
      const { initPid, shimPid } = peer.welcome;
      const size = async (): Promise<number> => {
        await stop(shimPid);
        const bytes = fill(`/proc/${initPid}/fd/1`);
        process.kill(shimPid, 'SIGCONT');
        return bytes;
      };
      let total = 0;
      const settled = async (): Promise<void> => await peer.until(() => Math.max(peer.next, 0) === total);
      const measured = async (): Promise<number> => {
        await settled();
        const bytes = await size();
        total += bytes;
        return bytes;
      };
      assert.equal(await measured(), 64 * 1024);
      await until(async () => {
        peer.stdin('again\n');
        total += 16 * MIB;
        return (await measured()) === (log ? 256 * 1024 : MIB);
      }, 'the pipe has grown');
      await until(async () => {
        await settled();
        await sleep(1500);
        return (await measured()) === 64 * 1024;
      }, 'the pipe has its first size again');
      peer.closeStdin();
      const exit = await peer.exit();
      assert.equal(exit.offset, total);
      await peer.leave();
    },
  );
}

test('without stdin it is empty', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'wc -c'] });
  const peer = await container.attach();
  assert.equal(peer.welcome.stdin, 0);
  await peer.exit();
  assert.equal(peer.text().trim(), '0');
  await peer.leave();
});

test('1 MiB right before the end, 50 of 50, read slowly', options, async () => {
  for (let i = 0; i < 50; i++) {
    await using container = new Container({
      args: ['sh', '-c', 'read go; exec dd if=/dev/zero bs=1048576 count=1'],
      stdin: true,
      ...(i % 2 === 0 ? { log: false } : {}),
    });
    const peer = await container.attach();
    peer.stdin('go\n');
    if (i % 5 === 0) {
      peer.socket.pause();
      await sleep(300);
      peer.socket.resume();
    }
    const exit = await peer.exit();
    assert.equal(exit.drained, 1);
    // With a log the container does not wait for us: what it does not get from the ring a daemon finds there.
    const missed = peer.gaps.reduce((sum, { from, to }) => sum + to - from, 0);
    if (i % 2 === 0) assert.equal(missed, 0);
    else assert.equal(logBytes(readLog(container.log), 'stdout').length, MIB);
    assert.equal(Buffer.concat(peer.output[1]).length + peer.text(2).length + missed, exit.offset);
    assert.equal(exit.offset - peer.text(2).length, MIB);
    assert.match(peer.text(2), /records out/);
    await peer.leave();
  }
});

test('replay from the ring: from any offset, with a gap for what it has lost', options, async () => {
  const script = 'read go; seq 1 100000; echo on stderr >&2; sleep 1000';
  await using container = new Container({ args: ['sh', '-c', script], stdin: true, log: false });
  const peer = await container.attach();
  // Not before somebody listens: the ring would lose the beginning.
  peer.stdin('go\n');
  await peer.untilOutput('100000\n');
  await peer.untilOutput('on stderr', 2);
  const all = peer.text();
  assert.equal(all, numbers(1, 100_000));
  const bounds = await peer.locate(NEXT);
  assert.deepEqual([bounds.kind, bounds.end], [2, all.length + 10]);
  assert.ok(bounds.first > 0 && bounds.end - bounds.first > 128 * 1024, `${bounds.first} to ${bounds.end}`);
  for (const from of [0, bounds.first - 1, bounds.first, bounds.first + 12_345, all.length - 7]) {
    const again = await container.connect();
    again.subscribe(from);
    await again.until(() => again.next === bounds.end);
    const begin = Math.max(from, bounds.first);
    assert.deepEqual(again.gaps, from < bounds.first ? [{ from, to: bounds.first }] : []);
    assert.equal(again.text(), all.slice(begin));
    assert.equal(again.text(2), 'on stderr\n');
    assert.deepEqual(await again.locate(0), { kind: 3, first: 0, end: bounds.first, inode: 0, position: 0 });
    // Again on the same connection, from the end: nothing.
    again.subscribe(NEXT);
    await again.request(0x0a);
    assert.equal(again.next, bounds.end);
    if (from !== all.length - 7) continue;
    await again.signal(9);
    await again.exit();
    await again.leave();
  }
});

test('keystrokes do not fill the ring with records', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true, log: false, ring: 65536 });
  const peer = await container.attach();
  for (let i = 0; i < 3000; i++) {
    peer.stdin('k');
    await peer.until(() => peer.next === i + 1);
  }
  const { first } = await peer.locate(NEXT);
  assert.equal(first, 0);
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});

test('a window is kept, also over gaps', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'read go; head -c 3000000 /dev/zero; sleep 1000'], stdin: true });
  assert.equal((await container.start()).ok, true);
  const peer = await container.connect();
  peer.acks = false;
  peer.subscribe(0, 10_000);
  // Not before somebody listens: the ring would lose the beginning.
  peer.stdin('go\n');
  await peer.until(() => peer.next === 10_000 || peer.gaps.length > 0);
  await until(() => statSync(container.log).size > 3_000_000, 'the log');
  await peer.request(0x0a);
  const seen = Buffer.concat(peer.output[1]).length;
  assert.equal(seen, 10_000);
  while (peer.next < 3_000_000) {
    const before = peer.next;
    peer.ack(before);
    await peer.until(() => peer.next >= Math.min(before + 10_000, 3_000_000));
  }
  assert.equal(peer.next, 3_000_000);
  const gap = peer.gaps.reduce((sum, { from, to }) => sum + to - from, 0);
  assert.ok(gap > 2_000_000);
  assert.equal(Buffer.concat(peer.output[1]).length, 3_000_000 - gap);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('LOCATE is true under 200 MB of output, rotations included', options, async () => {
  const lines = 2_500_000;
  const total = lines * LINE;
  const script = `awk 'BEGIN{for(i=0;i<${lines};i++) printf "%0${LINE - 1}d\\n", i}'; sleep 1000`;
  await using container = new Container({ args: ['sh', '-c', script] });
  const peer = await container.attach();
  peer.unsubscribe();
  const files: string[] = [];
  let checks = 0;
  const check = async (): Promise<void> => {
    const { end: next } = await peer.locate(NEXT);
    const offset = Math.floor(Math.random() * next);
    const place = await peer.locate(offset);
    if (place.kind === 2) return;
    assert.equal(place.kind, 1, JSON.stringify(place));
    assert.ok(place.first <= offset && offset < place.end && offset - place.first <= 2 * MIB);
    const path = [...files, container.log].find((name) => statSync(name).ino === place.inode) ?? '';
    // What is parsed from the position on must be the stream from `first` on: known by arithmetic.
    const bytes = contentAt(path, place.position, 4096);
    assert.equal(bytes.toString(), expected(place.first, bytes.length));
    checks++;
  };
  for (let next = 0; next < total; ) {
    await check();
    ({ end: next } = await peer.locate(NEXT));
    if (files.length < 5 && next > (files.length + 1) * 30_000_000) {
      const to = `${container.log}.${files.length}`;
      renameSync(container.log, to);
      files.push(to);
      assert.equal((await peer.request(0x09)).errno, 0);
    }
    await sleep(2);
  }
  for (let i = 0; i < 200; i++) await check();
  assert.ok(checks > 150, `${checks} checks`);
  const [hash, wanted] = [createHash('sha256'), createHash('sha256')];
  for (const path of [...files, container.log]) hash.update(logBytes(readLog(path)));
  for (let i = 0; i < lines; i += 100_000) wanted.update(expected(i * LINE, 100_000 * LINE));
  assert.equal(hash.digest('hex'), wanted.digest('hex'));
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

/** Bytes of one line of the numbered stream, newline included. */
const LINE = 80;

/** Content of the log's records from a position on. */
function contentAt(path: string, position: number, bytes: number): Buffer {
  const fd = openSync(path, 'r');
  const records = Buffer.alloc(bytes);
  const size = readSync(fd, records, 0, bytes, position);
  closeSync(fd);
  const content: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = records.subarray(0, size).indexOf(10, at);
    if (end < 0) return Buffer.concat(content);
    // F ends the line: its newline stands for the stream's.
    content.push(records.subarray(at + 40, records[at + 38] === 70 ? end + 1 : end));
    at = end + 1;
  }
}

/** Bytes of the numbered stream from an offset on. */
function expected(offset: number, length: number): string {
  const first = Math.floor(offset / LINE);
  const count = Math.ceil((offset + length) / LINE) - first;
  const text = Array.from({ length: count }, (_, i) => `${String(first + i).padStart(LINE - 1, '0')}\n`).join('');
  return text.slice(offset - first * LINE, offset - first * LINE + length);
}

/** A daemon in a process of its own, which can be stopped: it reads, subscribes and throws away. */
async function subscriber(container: Container): Promise<Disposable & { readonly pid: number }> {
  const script = `
    const { Peer } = await import(${JSON.stringify(new URL('./support/peer.ts', import.meta.url).href)});
    const peer = await Peer.open(process.argv[1], process.argv[2]);
    let bytes = 0, lines = '';
    peer.sink = (stream, offset, data) => { bytes += data.length; };
    peer.subscribe(0, 1048576);
    process.stdout.write('up');
  `;
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--input-type=module', '-e', script, container.socket, container.secret],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(child.stdout, 'data');
  return { pid: child.pid ?? 0, [Symbol.dispose]: () => void child.kill('SIGKILL') };
}

for (const log of [true, false]) {
  test(`a daemon that is stopped holds nothing for long (${log ? 'with' : 'without'} a log)`, options, async () => {
    // Far more than pipe, ring and socket hold.
    await using container = new Container({
      args: [
        'sh',
        '-c',
        'while [ ! -e /tmp/go ]; do sleep 0.01; done; head -c 50000000 /dev/zero; echo written; touch /tmp/written; sleep 1000',
      ],
      log,
      // With a log it is late-ms that counts: the other is far beyond what a loaded machine takes.
      stallMs: log ? 60_000 : 1500,
    });
    assert.equal((await container.start()).ok, true);
    using daemon = await subscriber(container);
    process.kill(daemon.pid, 'SIGSTOP');
    const begun = Date.now();
    writeFileSync(`${container.rootfs}/tmp/go`, '');
    await until(() => existsSync(`${container.rootfs}/tmp/written`), 'the container to go on');
    const took = Date.now() - begun;
    if (log) assert.ok(took < 30_000, `${took} ms`);
    else assert.ok(took >= 1400, `${took} ms: it was not waited for`);
    process.kill(daemon.pid, 'SIGKILL');
    const peer = await container.connect();
    peer.subscribe(NEXT);
    const { first, end } = await peer.locate(NEXT);
    assert.equal(end, 50_000_008);
    assert.equal((await peer.locate(0)).kind, log ? 1 : 3);
    assert.ok(first > 40_000_000);
    await peer.signal(9);
    await peer.exit();
    await peer.leave();
    if (log) assert.equal(logBytes(readLog(container.log)).length, 50_000_008);
  });
}

test('a daemon that was behind gets a gap and then everything newer', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'seq 1 1000000; sleep 0.5; seq 1000001 1000100; sleep 1000'] });
  assert.equal((await container.start()).ok, true);
  const peer = await container.connect();
  peer.subscribe(0);
  peer.socket.pause();
  await until(() => readFileSync(container.log).includes('F 1000000\n'), 'the log');
  peer.socket.resume();
  await peer.untilOutput('1000100\n');
  const gap = peer.gaps.toSorted((a, b) => b.to - b.from - (a.to - a.from))[0] ?? { from: 0, to: 0 };
  assert.ok(gap.to - gap.from > MIB);
  const all = numbers(1, 1_000_100);
  let expectedText = '';
  let at = 0;
  for (const { from, to } of peer.gaps) {
    expectedText += all.slice(at, from);
    at = to;
  }
  assert.ok(peer.text() === expectedText + all.slice(at));
  const place = await peer.locate(gap.from);
  assert.equal(place.kind, 1);
  assert.ok(place.end >= gap.to);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('a slow daemon without a log gets every byte: the container waits', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'read go; head -c 8000000 /dev/zero'], log: false, stdin: true });
  const peer = await container.attach();
  peer.stdin('go\n');
  const timer = setInterval(() => {
    peer.socket.pause();
    setTimeout(() => peer.socket.resume(), 30).unref();
  }, 40);
  const exit = await peer.exit();
  clearInterval(timer);
  assert.deepEqual([exit.offset, peer.gaps.length], [8_000_000, 0]);
  assert.equal(Buffer.concat(peer.output[1]).length, 8_000_000);
  await peer.leave();
});

test('without a log a daemon that says again and again how far it is is waited for, as long as it does', options, async () => {
  await using container = new Container({
    args: ['sh', '-c', 'read go; head -c 8000000 /dev/zero'],
    log: false,
    stdin: true,
    stallMs: 1000,
  });
  const peer = await container.attach();
  peer.acks = false;
  peer.subscribe(NEXT, 65_536);
  peer.stdin('go\n');
  await peer.until(() => peer.next === 65_536);
  for (let i = 0; i < 15; i++) {
    peer.ack(0);
    await sleep(200);
  }
  assert.deepEqual([peer.closed, peer.next], [false, 65_536]);
  await peer.until(() => peer.closed);
  const other = await container.connect();
  await other.signal(9);
  await other.exit();
  await other.leave();
});

test(
  'without a log the end does not wait for a daemon that waits for clients: what is left comes beyond the window',
  options,
  async () => {
    await using container = new Container({ args: ['sh', '-c', 'read go; cat /dev/zero'], log: false, stdin: true });
    const peer = await container.attach();
    peer.acks = false;
    peer.subscribe(NEXT, 65_536);
    peer.stdin('go\n');
    await peer.until(() => peer.next === 65_536);
    // It fills the ring and its pipe, and is stuck.
    await sleep(500);
    await peer.signal(9);
    const exit = await peer.exit();
    assert.deepEqual([exit.offset, peer.gaps.length, exit.code], [peer.next, 0, 137]);
    assert.ok(peer.next > 65_536);
    await peer.leave();
  },
);

test('a daemon that is killed while it reads: the next one goes on where it was', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'seq 1 3000000; sleep 1000'] });
  assert.equal((await container.start()).ok, true);
  const all = numbers(1, 3_000_000);
  let have = '';
  for (let round = 0; have.length < all.length; round++) {
    const peer = await container.connect();
    peer.subscribe(have.length);
    const goal = Math.min(all.length, have.length + 1_000_000);
    await peer.until(() => peer.next >= goal);
    // What fell out of the ring between two daemons is in the log.
    let missing = 0;
    for (const { from, to } of peer.gaps) missing += to - from;
    assert.equal(peer.text().length + missing, peer.next - have.length);
    if (peer.gaps.length === 0) assert.ok(all.startsWith(peer.text().slice(0, 10_000), have.length));
    have = all.slice(0, goal);
    await peer.end();
    assert.ok(round < 100);
  }
  assert.equal(have, all);
  await until(() => statSync(container.log).size >= all.length + 3_000_000 * 40, 'the log');
  assert.equal(logBytes(readLog(container.log)).toString(), all);
  const peer = await Peer.open(container.socket, container.secret);
  container.peers.push(peer);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});
