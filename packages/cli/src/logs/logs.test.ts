// The CRI log: records, lines, tails, rotation.
import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, readlinkSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { test, type TestContext } from 'node:test';
import { CriLogParser, type LogRecord, NotACriLog } from './cri-log.ts';
import { LineJoiner } from './line-joiner.ts';
import { MAX_WAITING } from './log-rotations.ts';
import { replayLog, showLog, type ShowOptions } from './show-log.ts';

const T = '2026-11-24T04:00:00.123456789Z';
const full = (content: string, stream = 'stdout'): string => `${T} ${stream} F ${content}\n`;
const part = (content: string, stream = 'stdout'): string => `${T} ${stream} P ${content}\n`;

async function logFile(t: TestContext, content = ''): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-cli-log-'));
  t.after(async () => await rm(dir, { recursive: true, force: true }));
  const path = join(dir, 'c.log');
  await writeFile(path, content);
  return path;
}

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk.toString('latin1');
    done();
  }
}

async function shown(path: string, options: ShowOptions = {}): Promise<{ stdout: string; stderr: string }> {
  const sinks = { stdout: new Sink(), stderr: new Sink() };
  await showLog(path, sinks, options);
  return { stdout: sinks.stdout.text, stderr: sinks.stderr.text };
}

test('records are found however the bytes are cut', () => {
  const bytes = Buffer.from(`${full('one')}${part('tw', 'stderr')}${full('', 'stderr')}${full('a b  c')}${T} stdout F\n`);
  const expected = ['stdout F one', 'stderr P tw', 'stderr F ', 'stdout F a b  c', 'stdout F '];
  const word = (r: LogRecord): string => `${r.stream} ${r.partial ? 'P' : 'F'} ${r.content.toString()}`;
  for (let size = 1; size <= bytes.length; size += 1) {
    const parser = new CriLogParser();
    const found: string[] = [];
    for (let at = 0; at < bytes.length; at += size) found.push(...parser.push(bytes.subarray(at, at + size)).map(word));
    assert.deepEqual(found, expected, `pieces of ${size}`);
  }
});

test('content is bytes: every value but newline comes through', () => {
  const content = Buffer.from(Array.from({ length: 256 }, (_, i) => i).filter((i) => i !== 10));
  const [record] = new CriLogParser().push(Buffer.concat([Buffer.from(`${T} stderr F `), content, Buffer.from('\n')]));
  assert.deepEqual(record?.content, content);
  assert.equal(record.time, T);
});

test('what is no CRI log is refused, also when it never ends a line', () => {
  for (const wrong of ['hello\n', `${T} stdin F x\n`, `${T} stdout X y\n`, '\n'])
    assert.throws(() => new CriLogParser().push(Buffer.from(wrong)), NotACriLog, wrong);
  const parser = new CriLogParser();
  assert.throws(() => {
    for (let i = 0; i < 20; i += 1) parser.push(Buffer.alloc(100_000, 'x'));
  }, NotACriLog);
});

test('partial records of two streams are joined each for itself', () => {
  const joiner = new LineJoiner();
  const lines = new CriLogParser()
    .push(Buffer.from(part('out') + part('err', 'stderr') + full('put') + full('or', 'stderr')))
    .flatMap((record) => joiner.push(record) ?? []);
  assert.deepEqual(
    lines.map(({ stream, content }) => [stream, content.toString()]),
    [
      ['stdout', 'output'],
      ['stderr', 'error'],
    ],
  );
});

test('a line without end is given on in pieces, not held', () => {
  const joiner = new LineJoiner();
  let given = 0;
  let held = 0;
  for (let i = 0; i < 300; i += 1) {
    const line = joiner.push({ time: T, stream: 'stdout', partial: true, content: Buffer.alloc(16_384) });
    held += 16_384;
    if (line !== undefined) {
      assert.equal(line.continues, given > 0);
      given += line.content.length;
      held = 0;
    }
    assert.ok(held <= 1024 * 1024);
  }
  assert.equal(given + held, 300 * 16_384);
});

test('a log goes to the streams it came from; the last partial line gets no newline', async (t) => {
  const path = await logFile(t, full('one') + full('bad', 'stderr') + part('tw') + full('o') + part('prompt> '));
  assert.deepEqual(await shown(path), { stdout: 'one\ntwo\nprompt> ', stderr: 'bad\n' });
});

test('timestamps stand once before each line', async (t) => {
  const path = await logFile(t, part('tw') + full('o') + full(''));
  assert.equal((await shown(path, { timestamps: true })).stdout, `${T} two\n${T} \n`);
});

test('replay gives the bytes as they were written', async (t) => {
  const path = await logFile(t, full('a\r') + part('\x1b[31m') + full('x') + part('end'));
  const sinks = { stdout: new Sink(), stderr: new Sink() };
  await replayLog(path, sinks);
  assert.equal(sinks.stdout.text, 'a\r\n\x1b[31mx\nend');
});

for (const lines of [0, 1, 2, 5, 1000, 5000]) {
  test(`the last ${lines} lines of a long log`, async (t) => {
    const all = Array.from({ length: 3000 }, (_, i) => `line ${i} ${'x'.repeat(i % 200)}`);
    const path = await logFile(
      t,
      all.map((line, i) => (i % 3 === 0 ? part(line.slice(0, 4)) + full(line.slice(4)) : full(line))).join(''),
    );
    const expected =
      lines === 0
        ? ''
        : all
            .slice(-lines)
            .map((line) => `${line}\n`)
            .join('');
    assert.equal((await shown(path, { tail: lines })).stdout, expected);
  });
}

test('a tail is whole where lines of both streams are torn apart by each other', async (t) => {
  const path = await logFile(t, full('old').repeat(50) + part('ab') + full('E', 'stderr') + full('cd'));
  assert.deepEqual(await shown(path, { tail: 2 }), { stdout: 'abcd\n', stderr: 'E\n' });
});

test('the last lines of a log that is followed are shown though it grows more quickly than it is read', async (t) => {
  const path = await logFile(t, full('old').repeat(50) + full('new'));
  const stop = new AbortController();
  const sinks = { stdout: new Sink(), stderr: new Sink() };
  const following = showLog(path, sinks, { tail: 1, finished: async () => false, signal: stop.signal });
  try {
    // More than one read takes, whenever the reader has had a turn.
    const more = full('x'.repeat(16_000)).repeat(20);
    for (let turns = 0; turns < 500 && sinks.stdout.text === ''; turns += 1) {
      appendFileSync(path, more);
      await new Promise(setImmediate);
    }
    assert.notEqual(sinks.stdout.text, '');
  } finally {
    stop.abort();
    await following;
  }
});

test('of a log that is not followed what was there is shown, though it grows more quickly than it is read', async (t) => {
  const path = await logFile(t, full('line').repeat(100));
  let written = 0;
  class Loud extends Sink {
    override _write(chunk: Buffer, encoding: BufferEncoding, done: () => void): void {
      if (++written <= 1000) appendFileSync(path, full('more'));
      super._write(chunk, encoding, done);
    }
  }
  const sinks = { stdout: new Loud(), stderr: new Sink() };
  await showLog(path, sinks);
  assert.equal(sinks.stdout.text, 'line\n'.repeat(100));
});

test('following goes on over rotation, truncation and a prompt without newline, until the container has ended', async (t) => {
  const path = await logFile(t, full('1'));
  let over = false;
  const sinks = { stdout: new Sink(), stderr: new Sink() };
  const following = showLog(path, sinks, { finished: async () => over });
  const seen = async (text: string): Promise<void> => {
    for (let i = 0; i < 500 && sinks.stdout.text !== text; i += 1) await sleep(20);
    assert.equal(sinks.stdout.text, text);
  };
  await seen('1\n');
  await appendFile(path, part('> '));
  await seen('1\n> ');
  await appendFile(path, full('yes'));
  await seen('1\n> yes\n');
  // Rotated: the old file still grows until the runtime reopens.
  await rename(path, `${path}.1`);
  await appendFile(`${path}.1`, full('2'));
  await seen('1\n> yes\n2\n');
  await appendFile(`${path}.1`, full('3'));
  await writeFile(path, full('4'));
  await seen('1\n> yes\n2\n3\n4\n');
  await truncate(path, 0);
  await appendFile(path, full(''));
  await seen('1\n> yes\n2\n3\n4\n\n');
  await appendFile(path, full('end'));
  over = true;
  await following;
  await seen('1\n> yes\n2\n3\n4\n\nend\n');
});

test('following can be given up', async (t) => {
  const path = await logFile(t, full('1'));
  const stop = new AbortController();
  const following = showLog(path, { stdout: new Sink(), stderr: new Sink() }, { finished: async () => false, signal: stop.signal });
  await sleep(50);
  stop.abort();
  await following;
});

/** Waits until this process has so many files of the log's folder open, and no more are looked at. */
async function open(path: string, count: number): Promise<void> {
  const targets = (): string[] => readdirSync('/proc/self/fd').map((fd) => targetOf(fd));
  const now = (): number => targets().filter((target) => target.startsWith(`${dirname(path)}/`)).length;
  for (let same = 0; same < 3; same = now() === count ? same + 1 : 0) await sleep(20);
}

function targetOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

/** A sink that takes nothing before it is told to. */
class SlowSink extends Sink {
  readonly #open: Promise<void>;
  constructor(open: Promise<void>) {
    super({ highWaterMark: 1 });
    this.#open = open;
  }
  override _write(chunk: Buffer, encoding: BufferEncoding, done: () => void): void {
    void this.#open.then(() => super._write(chunk, encoding, done));
  }
}

/** Writes a file of the log, then takes it out of the way, as a runtime that is told to reopen does. */
async function rotations(path: string, count: number, each: (rotated: string) => Promise<void> = async () => {}): Promise<string> {
  let expected = '';
  for (let n = 1; n <= count; n += 1) {
    const text = `file ${n}`;
    expected += `${text}\n`;
    await writeFile(`${path}.new`, `2026-11-24T04:${String(10 + n)}:00.5Z stdout F ${text}\n`);
    await rename(`${path}.new`, path);
    if (n === count) break;
    // The order is not told by names.
    const rotated = `${path}.${count - n}`;
    await rename(path, rotated);
    await each(rotated);
  }
  return expected;
}

test('following misses nothing of rotations in a row, whatever the names: neither at once nor behind a slow reader', async (t) => {
  const path = await logFile(t, full('first'));
  await writeFile(`${path}.0`, `2026-11-23T00:00:00Z stdout F long ago\n`);
  await writeFile(`${path}.gz`, Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3]));
  await mkdir(`${path}.d`);
  let over = false;
  const go = Promise.withResolvers<void>();
  const slow = new SlowSink(go.promise);
  const quick = new Sink();
  const following = [slow, quick].map(
    async (stdout) => await showLog(path, { stdout, stderr: new Sink() }, { finished: async () => over }),
  );
  for (let i = 0; i < 500 && quick.text === ''; i += 1) await sleep(20);
  await rename(path, `${path}.first`);
  const expected = `first\n${await rotations(path, 20)}`;
  for (let i = 0; i < 500 && quick.text !== expected; i += 1) await sleep(20);
  assert.equal(quick.text, expected);
  over = true;
  go.resolve();
  assert.deepEqual(await Promise.all(following), [true, true]);
  assert.equal(slow.text, expected);
});

test('what is compressed or removed while its reader is slow is read all the same, up to a number of files, and beyond said', async (t) => {
  for (const [count, complete] of [
    [10, true],
    [40, false],
  ] as const) {
    const path = await logFile(t, full('first'));
    const go = Promise.withResolvers<void>();
    const stdout = new SlowSink(go.promise);
    const following = showLog(path, { stdout, stderr: new Sink() }, { finished: async () => true });
    await open(path, 1);
    await rename(path, `${path}.first`);
    const rotated: string[] = [];
    const expected = `first\n${await rotations(path, count, async (name) => void rotated.push(name))}`;
    // Those that wait beside the one that is read.
    await open(path, Math.min(count, MAX_WAITING) + 1);
    for (const name of rotated) await rm(name);
    await sleep(500);
    go.resolve();
    assert.equal(await following, complete);
    assert.equal(stdout.text === expected, complete, stdout.text);
  }
});

test('a log that is empty when it is rotated away brings back nothing older', async (t) => {
  const path = await logFile(t);
  await writeFile(`${path}.0`, full('old'));
  let over = false;
  const stdout = new Sink();
  const following = showLog(path, { stdout, stderr: new Sink() }, { finished: async () => over });
  await open(path, 1);
  await rename(path, `${path}.1`);
  await writeFile(path, `2026-11-24T05:00:00Z stdout F new\n`);
  for (let i = 0; i < 500 && stdout.text === ''; i += 1) await sleep(20);
  over = true;
  await following;
  assert.equal(stdout.text, 'new\n');
});
