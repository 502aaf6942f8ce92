// Exec in one step, and which streams a session has.
import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { CHANNEL, exitCodeStatus, failureStatus } from '@berth/attach-protocol';
import { attach, connect, exec, type Input, type Output } from '../index.ts';
import { FakeDaemon } from '../testing/fake-daemon.ts';

test('exec gives the exit code, 0 for Success; what was asked for reaches the daemon', async () => {
  let code = 0;
  await using daemon = await FakeDaemon.start({
    it: {
      attached: (s) => {
        s.send(CHANNEL.stdout, 'out');
        s.end(code === 0 ? undefined : exitCodeStatus(code));
      },
    },
  });
  await using client = connect(daemon);
  const { id } = daemon.makeRunning({ args: ['it'] });
  for (code of [0, 7]) {
    const session = await exec(client, id, { cmd: ['run', 'it'], stdin: true, stderr: true, tty: true });
    assert.equal(await text(session.stdout), 'out');
    assert.equal(await text(session.stderr), '', 'asked for, and empty with a terminal');
    assert.deepEqual(await session.ended, { kind: 'exited', exitCode: code });
  }
  const [asked] = daemon.executed;
  assert.deepEqual([asked?.cmd, asked?.stdin, asked?.stdout, asked?.stderr, asked?.tty], [['run', 'it'], true, true, false, true]);
});

test('an exec that cannot start, or that is left', async () => {
  await using daemon = await FakeDaemon.start({ it: { attached: (s) => s.end(failureStatus('not found')) }, wait: {} });
  await using client = connect(daemon);
  const failed = await exec(client, daemon.makeRunning({ args: ['it'] }).id, { cmd: ['x'] });
  await assert.rejects(failed.ended, { name: 'SessionFailed', message: 'not found' });
  const left = await exec(client, daemon.makeRunning({ args: ['wait'] }).id, { cmd: ['x'] });
  left.resize(80, 24);
  left.detach();
  assert.deepEqual(await left.ended, { kind: 'detached' });
});

/** Compiles when both are the same type. */
type Same<A, B> = [A, B] extends [B, A] ? true : false;
const same = <A, B>(_is: Same<A, B>): void => {};

test('a session has the streams that were asked for, and its type says so', async () => {
  await using daemon = await FakeDaemon.start({ wait: {} });
  await using client = connect(daemon);
  const { id } = daemon.makeRunning({ args: ['wait'] });
  const some = await attach(client, id);
  same<typeof some.stdin, undefined>(true);
  same<typeof some.stdout, Output>(true);
  same<typeof some.stderr, undefined>(true);
  const all = await attach(client, id, { stdin: true, stderr: true, from: 'start' });
  same<typeof all.stdin, Input>(true);
  same<typeof all.stdout, Output>(true);
  same<typeof all.stderr, Output>(true);
  const asked: boolean = daemon.sessions.length > 0;
  const perhaps = await exec(client, id, { cmd: ['x'], stdin: asked, stdout: false });
  same<typeof perhaps.stdin, Input | undefined>(true);
  same<typeof perhaps.stdout, undefined>(true);
  assert.deepEqual(
    [some, all, perhaps].map((it) => [it.stdin, it.stdout, it.stderr].map((stream) => stream !== undefined)),
    [
      [false, true, false],
      [true, true, true],
      [true, false, false],
    ],
  );
  for (const session of [some, all, perhaps]) session.detach();
});

test('input whose session ends first: a pipe just stops, a pipeline says that it was cut off, as documented', async () => {
  await using daemon = await FakeDaemon.start({ it: { message: (s) => s.exit(0) } });
  await using client = connect(daemon);
  for (const way of ['pipe', 'pipeline']) {
    const { id } = daemon.makeRunning({ args: ['it'] });
    const session = await attach(client, id, { stdin: true });
    session.stdout.resume();
    const source = new PassThrough();
    const piped = way === 'pipe' ? source.pipe(session.stdin) && Promise.resolve() : pipeline(source, session.stdin);
    source.write('x');
    const outcome = await Promise.allSettled([piped, session.ended]);
    assert.deepEqual(
      outcome.map(({ status }) => status),
      [way === 'pipe' ? 'fulfilled' : 'rejected', 'fulfilled'],
    );
    if (outcome[0]?.status === 'rejected')
      assert.equal((outcome[0].reason as NodeJS.ErrnoException).code, 'ERR_STREAM_PREMATURE_CLOSE');
  }
});
