/** `berth-shim dial`: connections into a network namespace, handed over as sockets; what it may do there; a hostile daemon. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SHIM, SKIP, until } from './support/container.ts';

const options = { skip: SKIP };
const DIAL = 1;
const CANCEL = 2;
const ECONNREFUSED = 111;

/** Accepts on both loopback addresses of the namespace and sends back what comes, until its end. */
const ECHO = `require('node:net');
const server = (host) => new Promise((resolve) => {
  const s = require('node:net').createServer({ allowHalfOpen: true }, (c) => { c.on('error', () => {}); c.pipe(c); });
  s.listen({ host, port: 7, ipv6Only: host === '::1' }, resolve);
});
Promise.all([server('127.0.0.1'), server('::1')]).then(() => console.log('ready'));`;

let dir = '';
let echo: ChildProcess;

before(async () => {
  if (SKIP !== false) return;
  dir = mkdtempSync(join(tmpdir(), 'berth-dial-'));
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dir]);
  execFileSync('mount', ['--make-private', dir]);
  execFileSync(SHIM, ['pod', '--dir', dir, '--net', '--lo']);
  echo = spawn('nsenter', [`--net=${dir}/net`, process.execPath, '-e', ECHO], { stdio: ['ignore', 'pipe', 'inherit'] });
  if (echo.stdout !== null) await once(echo.stdout, 'data');
});

after(() => {
  if (SKIP !== false) return;
  echo.kill('SIGKILL');
  execFileSync('umount', ['-R', '-l', dir]);
  rmSync(dir, { recursive: true });
});

type Answer = { readonly id: number; readonly errno?: number; readonly socket: Socket | undefined };

/** The daemon's side. */
class Daemon implements Disposable {
  readonly child: ChildProcess;
  readonly answers: Answer[] = [];
  stderr = '';

  constructor(netns = `${dir}/net`) {
    this.child = spawn(SHIM, ['dial', '--netns', netns], { stdio: ['pipe', 'ignore', 'pipe', 'ipc'] });
    this.child.on('message', (message: { id: number; errno?: number }, handle) => {
      const socket = handle as Socket | undefined;
      if (socket !== undefined) socket.allowHalfOpen = true;
      this.answers.push({ ...message, socket });
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.child.stdin?.on('error', () => {});
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  send(...requests: readonly Buffer[]): void {
    this.child.stdin?.write(Buffer.concat(requests));
  }

  async answer(id: number): Promise<Answer> {
    await until(() => this.answers.some((each) => each.id === id), `an answer to ${id}`);
    return this.answers.find((each) => each.id === id) as Answer;
  }

  async ended(): Promise<number | null> {
    await until(() => this.child.exitCode !== null || this.child.signalCode !== null, 'the dialer ends');
    return this.child.exitCode;
  }

  [Symbol.dispose](): void {
    for (const { socket } of this.answers) socket?.destroy();
    this.child.kill('SIGKILL');
  }
}

const request = (id: number, port: number, family = 4, kind = DIAL): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(id, 0);
  bytes.writeUInt16LE(port, 4);
  bytes[6] = family;
  bytes[7] = kind;
  return bytes;
};

const cancel = (id: number): Buffer => request(id, 0, 0, CANCEL);

/** Sends bytes, ends its half, gives what comes back until the other half ends. */
async function conversation(socket: Socket, bytes: Buffer): Promise<Buffer> {
  const got: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => got.push(chunk));
  socket.end(bytes);
  await once(socket, 'end');
  return Buffer.concat(got);
}

test('IPv4 and IPv6 in the namespace, half-open both ways; a refused port is an errno', options, async () => {
  using daemon = new Daemon();
  daemon.send(request(1, 7, 4), request(2, 7, 6), request(3, 8, 4), request(4, 8, 6));
  const payload = Buffer.alloc(3 * 1024 * 1024, 'binary \0 and more');
  for (const [id, family] of [
    [1, 'IPv4'],
    [2, 'IPv6'],
  ] as const) {
    const { socket } = await daemon.answer(id);
    assert.ok(socket);
    assert.equal(socket.remoteFamily, family);
    assert.ok(payload.equals(await conversation(socket, payload)));
  }
  for (const id of [3, 4]) {
    const { errno, socket } = await daemon.answer(id);
    assert.deepEqual([errno, socket], [ECONNREFUSED, undefined]);
  }
  daemon.child.stdin?.end();
  assert.equal(await daemon.ended(), 0);
  assert.equal(daemon.stderr, '');
});

test('connections outlive the dialer', options, async () => {
  using daemon = new Daemon();
  daemon.send(request(1, 7));
  const { socket } = await daemon.answer(1);
  daemon.child.kill('SIGKILL');
  await daemon.ended();
  assert.ok(socket);
  assert.equal((await conversation(socket, Buffer.from('still here'))).toString(), 'still here');
});

test('it is in the namespace and has no privilege there', options, async () => {
  using daemon = new Daemon();
  daemon.send(request(1, 8));
  await daemon.answer(1);
  const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8');
  for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb']) assert.match(status, new RegExp(`^Cap${set}:\\s+0+$`, 'm'));
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.notEqual(readlinkSync(`/proc/${daemon.pid}/ns/net`), readlinkSync('/proc/self/ns/net'));
  assert.equal(readlinkSync(`/proc/${daemon.pid}/ns/mnt`), readlinkSync('/proc/self/ns/mnt'));
  // Not Private_Dirty: pages of a program that has just been built wait to be written.
  const dirty = Number(/Anonymous:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/smaps_rollup`, 'utf8'))?.[1]);
  if (!SHIM.includes('sanitize')) assert.ok(dirty < 120, `${dirty} KB`);
});

test('5000 connections leave no descriptor in it', options, async () => {
  using daemon = new Daemon();
  for (let first = 1; first <= 5000; first += 250) {
    daemon.send(...Array.from({ length: 250 }, (_, i) => request(first + i, i % 10 === 0 ? 8 : 7, i % 2 === 0 ? 4 : 6)));
    await until(() => daemon.answers.length === first + 249, `${first + 249} answers`);
    for (const { socket } of daemon.answers.slice(first - 1)) socket?.destroy();
  }
  assert.equal(daemon.answers.filter(({ socket }) => socket !== undefined).length, 4500);
  assert.equal(new Set(daemon.answers.map(({ id }) => id)).size, 5000);
  // stdin, stdout, stderr, channel, epoll: also of a daemon that was started with more.
  assert.deepEqual(readdirSync(`/proc/${daemon.pid}/fd`), ['0', '1', '2', '3', '4']);
});

/** A listener that accepts nothing: once its queue is full the kernel drops what comes, and a dial hangs. */
class Deaf implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(port: number): Promise<Deaf> {
    const script = `require('node:net').createServer().listen({ host: '127.0.0.1', port: ${port}, backlog: 1 }, () => console.log('ready'));`;
    const child = spawn('nsenter', [`--net=${dir}/net`, process.execPath, '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    if (child.stdout !== null) await once(child.stdout, 'data');
    child.kill('SIGSTOP');
    return new Deaf(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}

test('a dial that hangs holds up nothing and can be cancelled; there are at most 256', options, async () => {
  await using _deaf = await Deaf.start(9);
  using daemon = new Daemon();
  daemon.send(...Array.from({ length: 255 }, (_, i) => request(1000 + i, 9)));
  daemon.send(request(1, 7));
  const { socket } = await daemon.answer(1);
  assert.equal((await conversation(socket as Socket, Buffer.from('through'))).toString(), 'through');
  const hanging = 255 - (daemon.answers.length - 1);
  assert.ok(hanging > 240, `${hanging} hang`);
  assert.ok(readdirSync(`/proc/${daemon.pid}/fd`).length >= hanging);
  daemon.send(...Array.from({ length: 255 }, (_, i) => cancel(1000 + i)), cancel(77), ...[2, 3].map((id) => request(id, 8)));
  for (const id of [2, 3]) assert.equal((await daemon.answer(id)).errno, ECONNREFUSED);
  assert.equal(readdirSync(`/proc/${daemon.pid}/fd`).length, 5);
  const answered = daemon.answers.length;
  daemon.send(...Array.from({ length: 257 }, (_, i) => request(2000 + i, 9)));
  assert.equal(await daemon.ended(), 0);
  assert.equal(daemon.stderr, 'berth-shim: not a request\n');
  assert.equal(daemon.answers.length, answered);
});

test('what is no request ends it', options, async () => {
  const bad: readonly (readonly [string, readonly Buffer[]])[] = [
    ['port 0', [request(1, 0)]],
    ['another family', [request(1, 7, 5)]],
    ['another kind', [request(1, 7, 4, 3)]],
    ['a cancel with a port', [request(1, 7, 4, CANCEL)]],
    ['text', [Buffer.from('GET / HTTP/1.1\r\n\r\n')]],
    ['one id twice', [request(1, 7), request(1, 7)]],
  ];
  for (const [name, requests] of bad) {
    using daemon = new Daemon();
    // In one write, so that no answer comes between.
    daemon.child.stdin?.cork();
    daemon.send(...requests);
    daemon.child.stdin?.uncork();
    assert.equal(await daemon.ended(), 0, name);
    assert.equal(daemon.stderr, 'berth-shim: not a request\n', name);
  }
});

test('requests byte by byte; garbage on the channel is nothing to it; the end of the channel is its end', options, async () => {
  using daemon = new Daemon();
  for (const byte of Buffer.concat([request(1, 7), request(2, 8, 6)])) {
    daemon.send(Buffer.of(byte));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.ok((await daemon.answer(1)).socket);
  assert.equal((await daemon.answer(2)).errno, ECONNREFUSED);
  for (let i = 0; i < 200; i++) daemon.child.send({ cmd: 'x'.repeat(1000), i });
  daemon.send(request(3, 7));
  assert.ok((await daemon.answer(3)).socket);
  daemon.child.disconnect();
  assert.equal(await daemon.ended(), 0);
});

test('the daemon is gone with all its descriptors: it ends', options, async () => {
  const script = `const { spawn } = require('node:child_process');
    const child = spawn(process.argv[1], ['dial', '--netns', process.argv[2]], { stdio: ['pipe', 'ignore', 'inherit', 'ipc'] });
    console.log(child.pid); setInterval(() => {}, 1000);`;
  const daemon = spawn(process.execPath, ['-e', script, SHIM, `${dir}/net`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = daemon.stdout === null ? [''] : ((await once(daemon.stdout, 'data')) as [Buffer]);
  const pid = Number(text.toString());
  await until(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('dial'), 'the dialer runs');
  daemon.kill('SIGKILL');
  await until(() => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === '';
    } catch {
      return true;
    }
  }, 'the dialer ends');
});

test('a namespace that is none, wrong use', options, () => {
  for (const [args, status] of [
    [['dial', '--netns', '/dev/null'], 1],
    [['dial', '--netns', `${dir}/none`], 1],
    [['dial', '--netns', '/proc/self/ns/uts'], 1],
    [['dial', '--netns'], 64],
    [['dial'], 64],
  ] as const) {
    const done = spawnSync(SHIM, args, { encoding: 'utf8' });
    assert.equal(done.status, status, args.join(' '));
    assert.notEqual(done.stderr, '');
  }
});
