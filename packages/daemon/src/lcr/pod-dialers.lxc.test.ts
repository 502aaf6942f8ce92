/** Real connections into a real network namespace, and into the host's; dialers that idle, are killed, are too busy. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BerthError } from '../util/errors.ts';
import { PodDialers } from './pod-dialers.ts';

const SHIM = process.env['BERTH_SHIM'] ?? fileURLToPath(new URL('../../../../shim/build/berth-shim', import.meta.url));
const never = new AbortController().signal;

/** Port 7 echoes on both addresses, 70 on 127.0.0.1 only, 71 on ::1 only. */
const SERVER = `const { createServer } = require('node:net');
const listen = (host, port) => new Promise((resolve) => createServer({ allowHalfOpen: true }, (c) => { c.on('error', () => {}); c.pipe(c); })
  .listen({ host, port, ipv6Only: host === '::1' }, resolve));
Promise.all([listen('127.0.0.1', 7), listen('::1', 7), listen('127.0.0.1', 70), listen('::1', 71)]).then(() => console.log('ready'));`;

const dialerPids = (netns: string): number[] =>
  execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(`dial --netns ${netns}`))
    .map((line) => Number.parseInt(line, 10));

const unreachable = (text: RegExp) => (error: unknown) =>
  error instanceof BerthError && error.kind === 'unavailable' && error.code === 'PORT_UNREACHABLE' && text.test(error.message);

async function echo(socket: Socket, bytes: Buffer): Promise<Buffer> {
  const got: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => got.push(chunk));
  socket.end(bytes);
  await once(socket, 'close');
  return Buffer.concat(got);
}

describe('dialing', { timeout: 120_000 }, () => {
  let dir = '';
  let netns = '';
  let server: ChildProcess;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'berth-dialers-'));
    netns = `${dir}/net`;
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', dir]);
    execFileSync('mount', ['--make-private', dir]);
    execFileSync(SHIM, ['pod', '--dir', dir, '--net', '--lo']);
    server = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', SERVER], { stdio: ['ignore', 'pipe', 'inherit'] });
    if (server.stdout !== null) await once(server.stdout, 'data');
  });
  after(() => {
    server.kill('SIGKILL');
    execFileSync('umount', ['-R', '-l', dir]);
    rmSync(dir, { recursive: true });
  });

  test('IPv4 first, IPv6 when that is refused, one sentence when both are', async (t) => {
    const dialers = new PodDialers(SHIM);
    t.after(() => dialers.close());
    const payload = Buffer.alloc(1024 * 1024, 'bytes \0');
    for (const [port, family] of [
      [7, 'IPv4'],
      [70, 'IPv4'],
      [71, 'IPv6'],
    ] as const) {
      const socket = await dialers.dial('p', netns, port, never);
      assert.equal(socket.remoteFamily, family);
      assert.ok(payload.equals(await echo(socket, payload)));
    }
    await assert.rejects(
      dialers.dial('p', netns, 72, never),
      unreachable(/^port 72 cannot be reached: connection refused on 127\.0\.0\.1 and ::1$/),
    );
    assert.equal(dialers.size, 1);
    assert.equal(dialerPids(netns).length, 1);
    await dialers.close();
    assert.deepEqual([dialers.size, dialerPids(netns)], [0, []]);
  });

  test('the host network, without a helper', async (t) => {
    const dialers = new PodDialers(SHIM);
    t.after(() => dialers.close());
    await using here = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(here, 'listening');
    const { port } = here.address() as AddressInfo;
    const socket = await dialers.dial('p', undefined, port, never);
    assert.equal((await echo(socket, Buffer.from('hello'))).toString(), 'hello');
    assert.equal(dialers.size, 0);
    here.close();
    await once(here, 'close');
    await assert.rejects(dialers.dial('p', undefined, port, never), unreachable(/refused/));
  });

  test('1000 at once, more than the dialer takes at one time', async (t) => {
    const dialers = new PodDialers(SHIM);
    t.after(() => dialers.close());
    const sockets = await Promise.all(Array.from({ length: 1000 }, () => dialers.dial('p', netns, 7, never)));
    const answers = await Promise.all(
      sockets.map(async (socket, i) => (await echo(socket, Buffer.from(`number ${i}`))).toString()),
    );
    assert.deepEqual(
      answers,
      sockets.map((_, i) => `number ${i}`),
    );
  });

  test('a dialer that is killed: dials under way fail and say so, connections go on, the next dial has a new one', async (t) => {
    const dialers = new PodDialers(SHIM);
    t.after(() => dialers.close());
    const socket = await dialers.dial('p', netns, 7, never);
    const [pid = 0] = dialerPids(netns);
    process.kill(pid, 'SIGSTOP');
    const stuck = Promise.allSettled(Array.from({ length: 300 }, () => dialers.dial('p', netns, 7, never)));
    process.kill(pid, 'SIGKILL');
    for (const outcome of await stuck) {
      assert.equal(outcome.status, 'rejected');
      assert.match(String(outcome.reason), /helper that connects into the pod's network has ended with SIGKILL/);
    }
    assert.equal((await echo(socket, Buffer.from('goes on'))).toString(), 'goes on');
    const next = await dialers.dial('p', netns, 7, never);
    assert.equal((await echo(next, Buffer.from('again'))).toString(), 'again');
    assert.notDeepEqual(dialerPids(netns), [pid]);
  });

  test('a dialer that is not needed ends; its connections go on', async (t) => {
    const dialers = new PodDialers(SHIM, 50);
    t.after(() => dialers.close());
    const socket = await dialers.dial('p', netns, 7, never);
    for (let i = 0; i < 200 && (dialers.size > 0 || dialerPids(netns).length > 0); i++) await sleep(20);
    assert.deepEqual([dialers.size, dialerPids(netns)], [0, []]);
    assert.equal((await echo(socket, Buffer.from('later'))).toString(), 'later');
  });

  test('a dialer is not ended in the middle of a dial by the rest that it had after several at once', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const dialers = new PodDialers(SHIM, 30_000);
    t.after(() => dialers.close());
    const first = await dialers.dial('p', netns, 7, never);
    first.destroy();
    const [pid = 0] = dialerPids(netns);
    // Refusals that come in one piece.
    process.kill(pid, 'SIGSTOP');
    const refused = Promise.allSettled(Array.from({ length: 20 }, () => dialers.dial('p', netns, 72, never)));
    process.kill(pid, 'SIGCONT');
    for (const outcome of await refused) assert.equal(outcome.status, 'rejected');
    process.kill(pid, 'SIGSTOP');
    const dialed = dialers.dial('p', netns, 7, never);
    t.mock.timers.tick(30_000);
    process.kill(pid, 'SIGCONT');
    assert.equal((await echo(await dialed, Buffer.from('here'))).toString(), 'here');
    assert.deepEqual(dialerPids(netns), [pid]);
    // That was its last dial.
    t.mock.timers.tick(29_999);
    assert.deepEqual([dialers.size, dialerPids(netns)], [1, [pid]]);
    t.mock.timers.tick(1);
    t.mock.timers.reset();
    for (let i = 0; i < 200 && dialerPids(netns).length > 0; i++) await sleep(20);
    assert.deepEqual([dialers.size, dialerPids(netns)], [0, []]);
  });

  test('a dial is given up with its signal, by the dialer as well', async (t) => {
    const script = `require('node:net').createServer().listen({ host: '127.0.0.1', port: 9, backlog: 1 }, () => console.log('ready'));`;
    const deaf = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    if (deaf.stdout !== null) await once(deaf.stdout, 'data');
    deaf.kill('SIGSTOP');
    const dialers = new PodDialers(SHIM);
    t.after(async () => {
      deaf.kill('SIGKILL');
      await dialers.close();
    });
    const giveUp = new AbortController();
    const outcomes = Promise.allSettled(Array.from({ length: 400 }, () => dialers.dial('p', netns, 9, giveUp.signal)));
    const tried = (): number =>
      (readFileSync(`/proc/${dialerPids(netns)[0]}/net/tcp`, 'utf8').match(/^\s*\d+: \S+ \S+:0009 02 /gm) ?? []).length;
    for (let i = 0; i < 200 && (dialerPids(netns).length === 0 || tried() <= 200); i++) await sleep(20);
    assert.ok(tried() > 200, `${tried()} are tried`);
    giveUp.abort(new Error('too late'));
    const refused = (await outcomes).filter((outcome) => outcome.status === 'rejected');
    assert.ok(refused.length > 350);
    for (const { reason } of refused) assert.match(String(reason), /too late/);
    for (const outcome of await outcomes) if (outcome.status === 'fulfilled') outcome.value.destroy();
    const socket = await dialers.dial('p', netns, 7, never);
    assert.equal((await echo(socket, Buffer.from('free'))).toString(), 'free');
    assert.equal(tried(), 0, 'given up, and still tried');
  });

  test('a namespace that is gone is said, and remembered by nobody', async (t) => {
    const dialers = new PodDialers(SHIM);
    t.after(() => dialers.close());
    await assert.rejects(dialers.dial('p', `${dir}/none`, 7, never), /No such file/);
    assert.equal(dialers.size, 0);
    const socket = await dialers.dial('p', netns, 7, never);
    assert.equal((await echo(socket, Buffer.from('x'))).toString(), 'x');
    await assert.rejects(new PodDialers('/no/such/shim').dial('p', netns, 7, never), /cannot be started/);
  });
});
