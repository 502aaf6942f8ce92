// Lines of the log: none waits for a reader, none fails because of a disk; what is lost is counted and said, in its place.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { anotherReader, pipeEnds, takeText } from '../testing/pipe-ends.ts';
import { LogOutput, MAX_WAITING_LOG_BYTES } from './log-output.ts';

const line = (n: number): string => `{"n":${n},"text":"${'x'.repeat(1000)}"}\n`;

type Line = { readonly n?: number; readonly lost?: number };

const parsed = (text: string): Line[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((each) => JSON.parse(each) as Line);

/** A pipe with a reader that takes only what it is told to. */
function slowPipe(): Disposable & { readonly writer: number; take(): string } {
  const [reader, writer] = pipeEnds();
  return {
    writer,
    take: () => takeText(reader),
    [Symbol.dispose]: () => {
      closeSync(reader);
      closeSync(writer);
    },
  };
}

/** Every line either came out or is counted where it is missing; gives how many are missing. */
function accounted(lines: readonly Line[], count: number): number {
  let next = 0;
  let lost = 0;
  for (const each of lines) {
    if (each.lost === undefined) {
      assert.equal(each.n, next);
      next += 1;
      continue;
    }
    next += each.lost;
    lost += each.lost;
  }
  assert.equal(next, count);
  return lost;
}

test('a reader that stops holds nothing up: what waits has a limit, what is lost is counted and said in its place', async () => {
  using pipe = slowPipe();
  const output = new LogOutput(pipe.writer);
  const COUNT = 3_000;
  for (let n = 0; n < COUNT; n++) output.write(line(n));
  assert.ok(output.lost > COUNT - (MAX_WAITING_LOG_BYTES + 64 * 1024) / 1000 - 2, `only ${output.lost} lost`);
  let text = '';
  while (!text.includes('"lost":')) {
    text += pipe.take();
    await setImmediate();
  }
  output.write(line(COUNT));
  await output.end();
  text += pipe.take();
  assert.equal(accounted(parsed(text), COUNT + 1), output.lost);
});

test('a reader that is slow gets every line, and the end waits for it', async () => {
  using pipe = slowPipe();
  const output = new LogOutput(pipe.writer);
  for (let n = 0; n < 500; n++) output.write(line(n));
  const ended = output.end();
  let text = '';
  let done = false;
  void ended.then(() => {
    done = true;
  });
  while (!done) {
    text += pipe.take();
    await setImmediate();
  }
  text += pipe.take();
  assert.equal(accounted(parsed(text), 500), 0);
});

test('the end does not wait for ever for a reader that stopped', async () => {
  using pipe = slowPipe();
  const output = new LogOutput(pipe.writer);
  for (let n = 0; n < 500; n++) output.write(line(n));
  await output.end();
  assert.equal(output.lost, 0);
});

test('a reader that has gone: each line came out or is counted, also those that waited for it; the next reader sees how many', async () => {
  const COUNT = 501;
  const [first, writer] = pipeEnds();
  const output = new LogOutput(writer);
  let text = '';
  for (let n = 0; n < COUNT; n++) output.write(line(n));
  while (parsed(text).length < 110) {
    text += takeText(first);
    await sleep(5);
  }
  closeSync(first);
  while (output.lost === 0) await sleep(5);
  assert.ok(output.lost < COUNT - 100, `${output.lost} lost`);
  // What is in the pipe stays there, for whoever comes next.
  const second = anotherReader(writer);
  await sleep(1_100);
  output.write(line(COUNT));
  while (!text.includes(`"n":${COUNT},`)) {
    text += takeText(second);
    await sleep(5);
  }
  assert.equal(accounted(parsed(text), COUNT + 1), output.lost);
  closeSync(second);
  await output.end();
  closeSync(writer);
});

test('what is written right before the process ends is out', () => {
  const module = new URL('./log-output.ts', import.meta.url).href;
  const text = `const { LogOutput } = await import(process.argv[1]);
    const output = new LogOutput(2);
    for (let n = 0; n < 50; n++) output.write('{"n":' + n + '}\\n');
    process.exit(3);`;
  const { stderr, status } = spawnSync(process.execPath, ['--conditions=source', '--input-type=module', '-e', text, module], {
    encoding: 'utf8',
  });
  assert.equal(status, 3);
  assert.equal(accounted(parsed(stderr), 50), 0);
});

test('a reader that comes only later, goes and comes back: it gets the lines from then on, and how many are missing', async () => {
  const [first, writer] = pipeEnds();
  closeSync(first);
  const output = new LogOutput(writer);
  let next = 0;
  for (let round = 0; round < 2; round++) {
    output.write(line(next++));
    const reader = anotherReader(writer);
    await sleep(1_100);
    output.write(line(next++));
    output.write(line(next++));
    const lines = parsed(takeText(reader));
    assert.deepEqual(
      lines.map(({ n, lost }) => n ?? `${lost} lost`),
      ['1 lost', next - 2, next - 1],
    );
    closeSync(reader);
  }
  assert.equal(output.lost, 2);
  await output.end();
  closeSync(writer);
});

test('a pipe that others write to as well stays one that waits, for them', async () => {
  const [reader, writer] = pipeEnds();
  const output = new LogOutput(writer);
  output.write(line(0));
  await output.end();
  const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${writer}`, 'utf8'))?.[1] ?? '';
  assert.equal(Number.parseInt(flags, 8) & constants.O_NONBLOCK, 0);
  closeSync(reader);
  closeSync(writer);
});

test('a socket, as a journal gives: its reader stops, and gets every line that is not counted as lost', async () => {
  const module = new URL('./log-output.ts', import.meta.url).href;
  const COUNT = 3_000;
  const text = `const { LogOutput } = await import(process.argv[1]);
    const output = new LogOutput(2);
    for (let n = 0; n < ${COUNT}; n++) output.write('{"n":' + n + ',"text":"' + 'x'.repeat(1000) + '"}\\n');
    process.stdout.write(String(output.lost));
    process.stdin.once('data', async () => {
      output.write('{"n":${COUNT}}\\n');
      await output.end();
      process.exit(0);
    });`;
  // Node gives its children sockets; nobody reads this one for the time being.
  const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '-e', text, module], { stdio: 'pipe' });
  const [told] = (await once(child.stdout, 'data')) as [Buffer];
  const lost = Number(told.toString());
  assert.ok(lost > 1_000, `${lost} lost`);
  const parts: Buffer[] = [];
  child.stderr.on('data', (part: Buffer) => parts.push(part));
  await sleep(100);
  child.stdin.write('go on');
  await once(child, 'close');
  assert.equal(accounted(parsed(Buffer.concat(parts).toString()), COUNT + 1), lost);
});

test('a full disk: lines are lost and counted, nothing fails', () => {
  const full = openSync('/dev/full', 'w');
  const output = new LogOutput(full);
  for (let n = 0; n < 3; n++) output.write(line(n));
  closeSync(full);
  assert.equal(output.lost, 3);
});

test('a disk that is full for a while: a line is whole or lost, and how many are is said in their place', () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-log-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'berth-log', dir]);
  try {
    const fd = openSync(join(dir, 'log'), 'a');
    const output = new LogOutput(fd);
    for (let n = 0; n < 100; n++) output.write(line(n));
    assert.ok(output.lost > 20);
    const before = readFileSync(join(dir, 'log'), 'utf8');
    execFileSync('mount', ['-o', 'remount,size=1m', dir]);
    output.write(line(100));
    closeSync(fd);
    const text = readFileSync(join(dir, 'log'), 'utf8');
    // The line that filled the disk is there in part, on a line of its own, and counted as lost.
    const torn = before.length - before.lastIndexOf('\n') - 1;
    assert.ok(torn > 0);
    const lines = text.slice(0, before.length - torn) + text.slice(before.length + 1);
    assert.equal(accounted(parsed(lines), 101), output.lost);
  } finally {
    execFileSync('umount', [dir]);
    rmSync(dir, { recursive: true });
  }
});
