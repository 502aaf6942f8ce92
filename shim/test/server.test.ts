/** The shim's socket: who gets in, and what a hostile or second daemon can do. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Container, SKIP, until } from './support/container.ts';
import { frame, NEXT, Peer, u32 } from './support/peer.ts';

const options = { skip: SKIP };
type Vector = { readonly name: string; readonly direction: string; readonly hex: string };
const { malformed } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'vectors.json'), 'utf8')) as { malformed: Vector[] };

test('welcome says what there is', options, async () => {
  await using container = new Container({ args: ['sh', '-c', 'echo abc; cat; true'], stdin: true });
  const peer = await container.attach();
  await peer.untilOutput('abc\n');
  const second = await container.connect();
  const { welcome } = second;
  assert.deepEqual(
    { ...welcome, initPid: 0 },
    { shimPid: container.shimPid, initPid: 0, state: 1, tty: 0, stdin: 1, hasLog: 1, first: 0, next: 4, credit: 262144 },
  );
  assert.match(readFileSync(`/proc/${welcome.initPid}/cmdline`, 'latin1'), /^sh\0/);
  assert.equal(statSync(container.socket).mode & 0o777, 0o600);
  // The earlier daemon has been shown out.
  await peer.until(() => peer.closed);
  second.subscribe(NEXT);
  second.stdin('more\n');
  await second.untilOutput('more\n');
  second.closeStdin();
  await second.exit();
  await second.leave();
});

test(
  'nobody is answered before there is an init; who came earlier is then, or learns that the start has failed',
  options,
  async () => {
    for (const lxcStart of ['exec /usr/bin/lxc-start "$@"', 'exit 1']) {
      await using container = new Container({ args: ['cat'], stdin: true });
      const gate = join(container.dir, 'gate');
      const slow = join(container.dir, 'slow-lxc-start');
      writeFileSync(slow, `#!/bin/sh\nwhile [ ! -e ${gate} ]; do sleep 0.05; done\n${lxcStart}\n`, { mode: 0o755 });
      const starting = container.start(container.configuration().replace('lxc-start=/usr/bin/lxc-start', `lxc-start=${slow}`));
      await until(() => existsSync(container.socket), 'the socket');
      const early = new Peer(container.socket);
      early.hello(container.secret);
      // A shim that answered would have done so by now.
      await sleep(300);
      assert.deepEqual([early.frames, early.closed], [[], false]);
      writeFileSync(gate, '');
      const started = await starting;
      assert.equal(started.ok, lxcStart !== 'exit 1', started.line);
      await early.until(() => early.closed || early.has(0x81));
      assert.equal(early.has(0x81), started.ok);
      if (!started.ok) continue;
      assert.equal(early.welcome.initPid, started.pid);
      early.subscribe(0);
      early.closeStdin();
      await early.exit();
      await early.leave();
    }
  },
);

test('a wrong secret, a wrong version, no HELLO: closed, the container untouched', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const daemon = await container.attach();
  const strangers: Buffer[] = [
    frame(0x01, u32(1), Buffer.alloc(32)),
    frame(0x01, u32(2), Buffer.from(container.secret, 'hex')),
    frame(0x06),
    frame(0x05, Buffer.from('injected\n')),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(65536, 1),
  ];
  for (const bytes of strangers) {
    const stranger = new Peer(container.socket);
    stranger.socket.write(bytes);
    await stranger.until(() => stranger.closed);
    assert.deepEqual(stranger.frames, []);
  }
  daemon.stdin('still here\n');
  await daemon.untilOutput('still here\n');
  assert.equal(daemon.text(), 'still here\n');
  daemon.closeStdin();
  await daemon.exit();
  await daemon.leave();
});

test('at most 16 connections wait for HELLO, each for 5 s; others wait in the kernel and lose nothing', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const daemon = await container.attach();
  const begun = Date.now();
  const waiting = Array.from({ length: 16 }, () => new Peer(container.socket));
  for (const peer of waiting) peer.socket.write(Buffer.from([36, 0, 0]));
  await Promise.all(waiting.map((peer) => new Promise((resolve) => peer.socket.once('connect', resolve))));
  const late = Peer.exec(container.socket, container.secret, ['arg=true', 'env=PATH=/bin']);
  await late.until(() => late.has(0x81));
  assert.ok(Date.now() - begun >= 4500, 'its turn comes when one of the others has had its time');
  for (const peer of waiting) await peer.until(() => peer.closed);
  await late.end();
  assert.equal(daemon.closed, false);
  const next = await container.connect();
  next.closeStdin();
  await next.exit();
  await next.leave();
});

test('malformed frames close the connection, nothing else', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  assert.equal((await container.start()).ok, true);
  const bad: Buffer[] = malformed
    .filter((vector) => vector.direction === 'to-shim')
    .map((vector) => Buffer.from(vector.hex, 'hex'));
  assert.ok(bad.length >= 20);
  bad.push(frame(0x01, u32(1), Buffer.from(container.secret, 'hex'))); // a second HELLO
  for (const bytes of bad) {
    const peer = await container.connect();
    peer.socket.write(bytes);
    await peer.until(() => peer.closed);
  }
  const peer = await container.connect();
  peer.subscribe(0);
  peer.stdin('alive\n');
  await peer.untilOutput('alive\n');
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});

test('more input than the credit closes the connection; a subscription beyond the end too', options, async () => {
  await using container = new Container({ args: ['sleep', '1000'], stdin: true });
  assert.equal((await container.start()).ok, true);
  const greedy = await container.connect();
  greedy.stdin(Buffer.alloc(1024 * 1024));
  await greedy.until(() => greedy.closed);
  const lost = await container.connect();
  lost.subscribe(1_000_000);
  await lost.until(() => lost.closed);
  const peer = await container.connect();
  const { queued, unread } = await peer.stdinState();
  assert.ok(unread > 0 && queued <= 262144 && peer.welcome.credit === 262144 - queued);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('requests without anybody reading the answers are not taken for ever', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const peer = await container.attach();
  peer.socket.pause();
  // Far more answers than the queue and the sockets' buffers hold.
  const request = Buffer.concat(Array.from({ length: 5000 }, (_, i) => frame(0x0b, u32(i + 1000), Buffer.alloc(8))));
  let taken = 0;
  for (let i = 0; i < 40; i++) {
    peer.socket.write(request, () => taken++);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.ok(taken < 40, 'all requests were taken');
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${container.shimPid}/status`, 'utf8'))?.[1]);
  assert.ok(rss < 2048, `${rss} KB`);
  peer.socket.resume();
  const answers = (): number => peer.frames.filter((f) => f.type === 0x88).length;
  await peer.until(() => answers() === 200_000);
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});

test('LEAVE before the end is refused', options, async () => {
  await using container = new Container({ args: ['cat'], stdin: true });
  const peer = await container.attach();
  assert.equal((await peer.request(0x0d)).errno, 16);
  peer.closeStdin();
  await peer.exit();
  await peer.leave();
});
