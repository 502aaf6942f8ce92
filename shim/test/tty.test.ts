/** Containers with a terminal: controlling terminal, job control, sizes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Container, SKIP } from './support/container.ts';

const options = { skip: SKIP };

test('init has a controlling terminal with job control', options, async () => {
  await using container = new Container({ args: ['sh'], tty: true, stdin: true, env: ['PATH=/bin', 'PS1=> '] });
  const peer = await container.attach();
  await peer.untilOutput('> ');
  peer.stdin('tty; stty size; stat -c %a $(readlink /proc/self/fd/0)\r');
  await peer.untilOutput(/\/dev\/console\r\n24 80\r\n/);
  assert.doesNotMatch(peer.text(), /job control turned off|can't access tty/);
  // A key that comes before the shell has given the terminal to its child is input, not a signal: the child says when it has it.
  peer.stdin('sh -c \'trap "echo goes on" CONT; echo begun; while :; do sleep 0.1; done\'\r');
  await peer.untilOutput('\r\nbegun\r\n');
  peer.stdin('\x1a');
  await peer.untilOutput('Stopped');
  peer.stdin('fg\r');
  await peer.untilOutput('\r\ngoes on\r\n');
  peer.stdin('\x03');
  peer.stdin('echo sta""tus $?\r');
  await peer.untilOutput('status 130');
  peer.stdin('echo x > /dev/tty; ls /proc/$$/fd; exit 4\r');
  const exit = await peer.exit();
  assert.equal(exit.code, 4);
  assert.match(peer.text(), /\r\nx\r\n/);
  assert.equal(peer.text(2), '');
  await peer.leave();
});

test('sizes: the first, and 200 in a row, the last before later input', options, async () => {
  const script =
    'n=0; trap n=1 WINCH; stty -echo; stty size; echo armed; for i in 1 2; do while ! read line; do :; done; echo $line $(stty size) $n; done';
  await using container = new Container({ args: ['sh', '-c', script], tty: true, stdin: true, rows: 43, cols: 132 });
  const peer = await container.attach();
  await peer.untilOutput('43 132\r\narmed');
  for (let i = 1; i <= 200; i++) peer.resize(100 + i, 50 + i);
  peer.stdin('first\n');
  await peer.untilOutput('first 250 300 1');
  peer.resize(0, 24);
  peer.resize(80, 0);
  peer.stdin('second\n');
  await peer.untilOutput('second 250 300 1');
  await peer.exit();
  await peer.leave();
});

test('a resize is not held back by input that nobody reads', options, async () => {
  await using container = new Container({
    args: ['sh', '-c', 'stty raw -echo; trap "stty size" WINCH; echo ready; while :; do sleep 0.1; done'],
    tty: true,
    stdin: true,
  });
  const peer = await container.attach();
  await peer.untilOutput('ready');
  peer.stdin(Buffer.alloc(200_000, 'x'));
  peer.resize(91, 37);
  await peer.untilOutput('37 91');
  assert.ok((await peer.stdinState()).queued > 0);
  await peer.signal(9);
  await peer.exit();
  await peer.leave();
});

test('CLOSE_STDIN is ignored, end of input is a character', options, async () => {
  await using container = new Container({ args: ['cat'], tty: true, stdin: true });
  const peer = await container.attach();
  peer.closeStdin();
  peer.stdin('abc\r');
  await peer.untilOutput('abc\r\nabc\r\n');
  assert.equal((await peer.stdinState()).state, 1);
  peer.stdin('\x04');
  assert.equal((await peer.exit()).code, 0);
  await peer.leave();
});

test('a terminal that is closed by everybody and opened again', options, async () => {
  await using container = new Container({
    args: ['sh', '-c', 'trap "" HUP; echo one; exec <&- >&- 2>&-; sleep 0.5; exec > /dev/console; echo two; sleep 0.2'],
    tty: true,
  });
  const peer = await container.attach();
  const exit = await peer.exit();
  assert.equal(peer.text(), 'one\r\ntwo\r\n');
  assert.equal(exit.drained, 1);
  await peer.leave();
});

test('the last output before the end is there, 20 MB of it', options, async () => {
  await using container = new Container({
    // Begins when it is told to: without a log, what is written before anybody subscribes is only as safe as the ring is large.
    args: [
      'sh',
      '-c',
      'stty raw -echo; printf R; head -c 1 >/dev/null; dd if=/dev/zero bs=64k count=320 2>/dev/null | tr "\\0" x; printf END',
    ],
    tty: true,
    stdin: true,
    log: false,
  });
  const peer = await container.attach();
  await peer.untilOutput('R');
  peer.stdin('g');
  const exit = await peer.exit();
  assert.equal(exit.offset, 1 + 320 * 65536 + 3);
  assert.equal(peer.text().length, exit.offset);
  assert.ok(peer.text().endsWith('xEND'));
  await peer.leave();
});

test('the terminal of a user that is not root', options, async () => {
  await using container = new Container({
    args: ['sh', '-c', 'stat -L -c "%u %a" /proc/self/fd/0; echo again > /dev/tty; echo too > /dev/console'],
    tty: true,
    more: ['uid=1234', 'gid=1234'],
  });
  const peer = await container.attach();
  await peer.exit();
  assert.equal(peer.text(), '1234 620\r\nagain\r\ntoo\r\n');
  await peer.leave();
});

test('input: a long paste into a raw terminal arrives whole', options, async () => {
  await using container = new Container({
    args: ['sh', '-c', 'stty raw -echo; echo ready; head -c 1000000 | sha256sum'],
    tty: true,
    stdin: true,
  });
  const peer = await container.attach();
  await peer.untilOutput('ready');
  const { createHash } = await import('node:crypto');
  const data = Buffer.alloc(1_000_000, 'The quick brown fox. ');
  for (let at = 0; at < data.length; ) {
    await peer.until(() => peer.credit - at > 0);
    const part = data.subarray(at, at + Math.min(65536, peer.credit - at));
    peer.stdin(part);
    at += part.length;
  }
  await peer.untilOutput(createHash('sha256').update(data).digest('hex'));
  await peer.exit();
  await peer.leave();
});
