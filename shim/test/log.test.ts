/** The CRI log: its format, partial lines, rotation, and disks and paths that are not what they should be. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container, logBytes, readLog, SKIP, until } from './support/container.ts';
import { frame, NEXT, u32 } from './support/peer.ts';

const options = { skip: SKIP };
const shown = (container: Container): string[] =>
  readLog(container.log).map((r) => `${r.stream} ${r.kind} ${r.content.length > 20 ? r.content.length : r.content.toString()}`);
/** Processor time of a process: the kernel counts in hundredths of a second (proc(5), utime and stime). */
const cpuMs = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return 10 * (Number(fields[11]) + Number(fields[12]));
};

test('partial lines: after a time, by the other stream, at 16 KiB, at the end', options, async () => {
  const script = `
    printf one; read go; echo " two"
    printf three; echo err >&2; sleep 0.05; echo " four"
    head -c 40000 /dev/zero | tr '\\0' x; echo
    head -c 16384 /dev/zero | tr '\\0' y; echo; echo
    printf last`;
  await using container = new Container({ args: ['sh', '-c', script], stdin: true });
  const peer = await container.attach();
  await until(() => shown(container).includes('stdout P one'), 'the beginning of a line in the log');
  peer.stdin('go\n');
  await peer.exit();
  await peer.leave();
  const records = shown(container);
  assert.deepEqual(records.slice(0, 2), ['stdout P one', 'stdout F  two']);
  assert.ok(records.includes('stderr F err'));
  assert.equal(records.at(-1), 'stdout P last');
  const all = readLog(container.log);
  assert.ok(all.every((record) => record.content.length <= 16384));
  assert.ok(all.some((record) => record.content.length === 16384 && record.kind === 'P'));
  assert.equal(logBytes(all, 'stdout').toString(), `one two\nthree four\n${'x'.repeat(40000)}\n${'y'.repeat(16384)}\n\nlast`);
  assert.equal(statSync(container.log).mode & 0o777, 0o640);
});

test('attachers get a partial line at once, LOCATE counts it as in the ring, FLUSH writes it', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'printf prompt; sleep 1000'], partialMs: 3_600_000 });
  const peer = await container.attach();
  await peer.untilOutput('prompt');
  assert.equal(readFileSync(container.log, 'utf8'), '');
  assert.equal((await peer.locate(0)).kind, 2);
  assert.equal((await peer.request(0x0a)).errno, 0);
  assert.deepEqual(shown(container), ['stdout P prompt']);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('reopening under full output: no byte lost, none twice, in ten files', options, async () => {
  // The second half waits until the log has been opened again: there is something for a later file however quick the first was.
  const script = 'seq 1 500000; read go; seq 500001 1000000; sleep 1000';
  await using container = new Container({ args: ['sh', '-c', script], stdin: true });
  const peer = await container.attach();
  const files: string[] = [];
  for (let i = 0; i < 10; i++) {
    if (i === 3) peer.stdin('go\n');
    const to = `${container.log}.${i}`;
    renameSync(container.log, to);
    files.push(to);
    assert.equal((await peer.request(0x09)).errno, 0);
    await sleep(15);
  }
  await peer.untilOutput('1000000\n');
  const wanted = Array.from({ length: 1_000_000 }, (_, i) => `${i + 1}\n`).join('');
  const all = [...files, container.log].map((path) => logBytes(readLog(path)).toString());
  assert.ok(all.join('') === wanted);
  assert.ok(all.filter((text) => text !== '').length > 1);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('a log that cannot be opened again: the old one stays', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const peer = await container.attach();
  renameSync(container.log, `${container.log}.1`);
  symlinkSync('/etc/passwd', container.log);
  assert.equal((await peer.request(0x09)).errno, 40);
  rmSync(container.log);
  execFileSync('mkfifo', [container.log]);
  assert.notEqual((await peer.request(0x09)).errno, 0);
  rmSync(container.log);
  peer.stdin('line\n');
  await peer.untilOutput('line');
  assert.equal(logBytes(readLog(`${container.log}.1`)).toString(), 'line\n');
  assert.equal((await peer.request(0x09)).errno, 0);
  peer.stdin('next\n');
  await peer.untilOutput('next');
  assert.equal(logBytes(readLog(container.log)).toString(), 'next\n');
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});

test('refused at the start: links, FIFOs, hard links, ways out of the directory', options, async () => {
  const cases: [string | true, (c: Container) => void][] = [
    [true, (c) => symlinkSync('/tmp/elsewhere', c.log)],
    [true, (c) => void execFileSync('mkfifo', [c.log])],
    [true, (c) => mkdirSync(c.log)],
    [
      true,
      (c) => {
        writeFileSync(`${c.dir}/other`, '');
        linkSync(`${c.dir}/other`, c.log);
      },
    ],
    ['../out.log', () => undefined],
    ['/tmp/berth-shim-absolute.log', () => undefined],
    ['sub/0.log', () => undefined],
    ['sub/0.log', (c) => symlinkSync('/tmp', join(c.logDir, 'sub'))],
  ];
  for (const [log, before] of cases) {
    await using container = new Container({ args: ['true'], log, before });
    const started = await container.start();
    assert.deepEqual([started.ok, started.kind], [false, 'log'], `${log}: ${started.line}`);
    assert.deepEqual(container.leftovers(), []);
  }
  await using below = new Container({ args: ['echo', 'x'], log: 'sub/0.log', before: (c) => mkdirSync(join(c.logDir, 'sub')) });
  const peer = await below.attach();
  await peer.exit();
  await peer.leave();
  assert.equal(readLog(below.log).length, 1);
});

/** A disk that is soon full. */
class SmallDisk {
  readonly path = mkdtempSync(join(tmpdir(), 'berth-disk-'));

  constructor() {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', this.path]);
  }

  [Symbol.dispose](): void {
    execFileSync('umount', ['-l', this.path]);
    rmSync(this.path, { recursive: true });
  }
}

test('a full disk: counted and told, the container and the daemon go on, the log goes on when there is room', options, async () => {
  using disk = new SmallDisk();
  await using container = new Container({
    args: ['sh', '-c', 'seq 1 50000; read x; seq 50001 50100; sleep 1000'],
    logDir: disk.path,
    stdin: true,
    // Nothing is lost to a test that sleeps: this one compares what it was sent.
    lateMs: 60_000,
  });
  const peer = await container.attach();
  await peer.untilOutput('50000\n');
  await peer.until(() => peer.has(0x86));
  const lost = Number(peer.last(0x86).readBigUInt64LE(0));
  assert.equal(peer.last(0x86).readUInt32LE(16), 28);
  const kept = logBytes(readLog(container.log)).toString();
  assert.ok(kept.length > 1000 && peer.text().startsWith(kept));
  await peer.until(() => Number(peer.last(0x86).readBigUInt64LE(0)) === peer.text().length - kept.length, 'the whole loss');
  assert.ok(lost > 0);
  // Before the hole: in the log. In the hole: lost, though the ring has it. The next: in the ring.
  assert.equal((await peer.locate(10)).kind, 1);
  assert.equal((await peer.locate(10)).end, kept.length);
  const hole = await peer.locate(kept.length);
  assert.deepEqual([hole.kind, hole.first, hole.end], [3, kept.length, peer.next]);
  assert.equal((await peer.locate(peer.next - 1)).kind, 3);
  assert.equal((await peer.locate(NEXT)).kind, 2);
  // Room again, in the same file: what comes next is a new segment that LOCATE tells from the old one.
  execFileSync('mount', ['-o', 'remount,size=16m', disk.path]);
  const before = peer.next;
  peer.stdin('go\n');
  await peer.untilOutput('50100\n');
  const records = readLog(container.log);
  assert.ok(logBytes(records).toString().endsWith('\n50099\n50100\n'));
  assert.equal(logBytes(records).toString(), kept + peer.text().slice(before));
  const second = await container.connect();
  const losses = second.last(0x81);
  assert.equal(Number(losses.readBigUInt64LE(40)), before - kept.length);
  assert.ok(Number(losses.readBigUInt64LE(48)) >= 1);
  await second.signal(9);
  await second.exit();
  await second.leave();
});

test('a full disk and a daemon that takes nothing: the shim sleeps', options, async () => {
  using disk = new SmallDisk();
  const script = 'read x; head -c 4000000 /dev/zero; echo > /tmp/written; while :; do echo tick; usleep 200000; done';
  await using container = new Container({ args: ['sh', '-c', script], logDir: disk.path, stdin: true });
  const peer = await container.attach();
  peer.stdin('go\n');
  peer.socket.pause();
  await until(() => existsSync(`${container.rootfs}/tmp/written`), 'the container to fill socket and disk');
  // Answers fill the queue in which a loss would be told: what the losses alone do within four minutes.
  const FLUSHES = 1000;
  peer.socket.write(Buffer.concat(Array.from({ length: FLUSHES }, (_, i) => frame(0x0a, u32(i)))));
  await sleep(1500);
  const before = cpuMs(container.shimPid);
  await sleep(3000);
  const used = cpuMs(container.shimPid) - before;
  assert.ok(used < 500, `${used} ms of 3000`);
  peer.socket.resume();
  await peer.until(() => peer.frames.filter((f) => f.type === 0x88).length === FLUSHES, 'every answer');
  await peer.until(() => peer.has(0x86));
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test(
  'a log that somebody empties: LOCATE forgets what was in it, a full disk right after leaves whole records',
  options,
  async () => {
    using disk = new SmallDisk();
    await using container = new Container({
      args: ['sh', '-c', 'seq 1 1000; read x; seq 1001 2000; read x; seq 2001 60000; sleep 1000'],
      logDir: disk.path,
      stdin: true,
      lateMs: 60_000,
    });
    const peer = await container.attach();
    await peer.untilOutput('\n1000\n');
    assert.equal((await peer.locate(0)).kind, 1);
    truncateSync(container.log);
    const first = peer.next;
    const gone = await peer.locate(0);
    assert.deepEqual([gone.kind, gone.first], [3, 0]);
    peer.stdin('go\n');
    await peer.untilOutput('\n2000\n');
    const place = await peer.locate(first);
    assert.deepEqual([place.kind, place.first, place.position], [1, first, 0]);
    assert.equal(logBytes(readLog(container.log)).toString(), peer.text().slice(first));
    // Nobody asks in between: the write that does not fit is the first to see the file.
    truncateSync(container.log);
    const second = peer.next;
    peer.stdin('go\n');
    await peer.untilOutput('\n60000\n');
    const kept = logBytes(readLog(container.log)).toString();
    assert.ok(kept.length > 1000 && peer.text().startsWith(kept, second));
    await peer.until(() => peer.has(0x86));
    await peer.until(
      () => Number(peer.last(0x86).readBigUInt64LE(0)) === peer.text().length - second - kept.length,
      'the whole loss',
    );
    await peer.signal(9);
    await peer.exit();
    await peer.leave();
  },
);
