// Attach sessions over a real WebSocket: bytes, ends, back-pressure.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { CHANNEL, exitCodeStatus, failureStatus } from '@berth/attach-protocol';
import {
  attach,
  AttachRefused,
  type AttachOptions,
  type AttachSession,
  attachStream,
  type BerthClient,
  connect,
  RpcError,
  SessionFailed,
  StreamLost,
} from '../index.ts';
import { FakeDaemon, type FakeProgram } from '../testing/fake-daemon.ts';

const MIB = 1024 * 1024;

const bytesOf = async (output: AttachSession['stdout']): Promise<Buffer> =>
  output === undefined ? Buffer.alloc(0) : await buffer(output);

type Stage = { readonly daemon: FakeDaemon; readonly client: BerthClient; readonly session: AttachSession } & AsyncDisposable;

async function stage(program: FakeProgram, options: AttachOptions = {}): Promise<Stage> {
  const daemon = await FakeDaemon.start({ it: program });
  const client = connect(daemon);
  const { podSandboxId } = await client.runtime.runPodSandbox({ config: { metadata: { name: 'p' }, logDirectory: daemon.dir } });
  const { containerId } = await client.runtime.createContainer({ podSandboxId, config: { args: ['it'], logPath: 'c.log' } });
  await client.runtime.startContainer({ containerId });
  const session = await attach(client, containerId, options);
  return {
    daemon,
    client,
    session,
    [Symbol.asyncDispose]: async () => {
      session.detach();
      client.close();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

test('output comes apart by stream, then the status', async () => {
  await using it = await stage(
    {
      attached: (s) => {
        s.send(CHANNEL.stdout, 'out');
        s.send(CHANNEL.stderr, 'err');
        s.send(CHANNEL.stdout, Buffer.from([0, 255]));
        s.exit(3);
      },
    },
    { stderr: true, from: 'start' },
  );
  const { session, daemon } = it;
  const [out, err, end] = await Promise.all([bytesOf(session.stdout), bytesOf(session.stderr), session.ended]);
  assert.deepEqual([...out], [...Buffer.from('out'), 0, 255]);
  assert.equal(err.toString(), 'err');
  assert.ok(end.kind === 'status');
  assert.deepEqual([end.status.status, end.exitCode], ['Success', undefined], 'no exit code is made up');
  assert.equal(daemon.sessions[0]?.from, 'start');
});

test('the tail is there for a reader that begins after the end', async () => {
  await using it = await stage({
    attached: (s) => {
      s.send(CHANNEL.stdout, randomBytes(64 * 1024));
      s.exit(0);
    },
  });
  await it.session.ended;
  await sleep(100);
  assert.equal((await bytesOf(it.session.stdout)).length, 64 * 1024);
});

test('a connection that ends without a status is an error, behind the last byte', async () => {
  for (const end of ['terminate', 'close'] as const) {
    await using it = await stage({
      attached: (s) => {
        s.send(CHANNEL.stdout, 'last words');
        setTimeout(() => (end === 'close' ? s.socket.close(1000) : s.socket.terminate()), 50);
      },
    });
    const { session } = it;
    await assert.rejects(
      session.ended,
      (error) => error instanceof StreamLost && error.closeCode === (end === 'close' ? 1000 : 1006),
    );
    let text = '';
    await assert.rejects(async () => {
      for await (const chunk of session.stdout ?? []) text += String(chunk);
    }, StreamLost);
    assert.equal(text, 'last words');
  }
});

test('a session that the daemon ends with a Failure fails, and so do its outputs behind their last byte', async () => {
  const failure = failureStatus('too far behind', 'LagLimit');
  const isIt = (error: unknown): boolean => {
    assert.ok(error instanceof SessionFailed);
    assert.deepEqual([error.message, error.reason, error.status], ['too far behind', 'LagLimit', failure]);
    return true;
  };
  await using it = await stage(
    {
      attached: (s) => {
        s.send(CHANNEL.stdout, 'last words');
        s.end(failure);
      },
    },
    { stderr: true },
  );
  const { session } = it;
  await assert.rejects(session.ended, isIt);
  let text = '';
  await assert.rejects(async () => {
    for await (const chunk of session.stdout ?? []) text += String(chunk);
  }, isIt);
  assert.equal(text, 'last words');
  await assert.rejects(bytesOf(session.stderr), isIt);
});

test("an exit code that the status tells is a result, not a failure; a Failure without words has its reason's", async () => {
  await using it = await stage({ attached: (s) => s.end(exitCodeStatus(3)) });
  const [out, end] = await Promise.all([bytesOf(it.session.stdout), it.session.ended]);
  assert.deepEqual([out.length, end.kind === 'status' && end.exitCode], [0, 3]);
  await using silent = await stage({ attached: (s) => s.end({ status: 'Failure', reason: 'OutputLost' }) });
  await assert.rejects(silent.session.ended, { name: 'SessionFailed', message: 'OutputLost' });
});

test('a failed session ends no process that reads none of it', async () => {
  await using it = await stage({ attached: (s) => s.end(failureStatus('away')) });
  while (it.daemon.sessions[0]?.socket.readyState !== 3) await sleep(10);
  await sleep(50);
});

test('an exit code is told where the status has one', async () => {
  await using it = await stage({ attached: (s) => s.end(exitCodeStatus(7)) });
  const end = await it.session.ended;
  assert.equal(end.kind === 'status' && end.exitCode, 7);
});

test('16 MiB of input arrive exactly, then the end of it', async () => {
  const hash = createHash('sha256');
  let bytes = 0;
  let largest = 0;
  await using it = await stage(
    {
      message: (s, channel, payload) => {
        if (channel === CHANNEL.stdin) {
          hash.update(payload);
          bytes += payload.length;
          largest = Math.max(largest, payload.length);
        } else if (channel === CHANNEL.close) {
          assert.deepEqual([...payload], [CHANNEL.stdin]);
          s.send(CHANNEL.stdout, `${bytes}`);
          s.exit(0);
        }
      },
    },
    { stdin: true },
  );
  const { session } = it;
  const data = randomBytes(16 * MIB);
  for (let at = 0; at < data.length; at += 3 * MIB) {
    if (session.stdin?.write(data.subarray(at, at + 3 * MIB)) === false) await once(session.stdin, 'drain');
  }
  session.stdin?.end();
  assert.equal((await bytesOf(session.stdout)).toString(), String(data.length));
  assert.equal(hash.digest('hex'), createHash('sha256').update(data).digest('hex'));
  assert.ok(largest <= 32 * 1024);
});

test('input waits while the server does not read', async () => {
  await using it = await stage({ attached: (s) => s.socket.pause() }, { stdin: true });
  const { stdin } = it.session;
  assert.ok(stdin);
  let accepted = 0;
  const chunk = Buffer.alloc(64 * 1024);
  const deadline = performance.now() + 5_000;
  while (performance.now() < deadline && accepted < 256 * MIB) {
    accepted += chunk.length;
    if (!stdin.write(chunk) && !(await Promise.race([once(stdin, 'drain').then(() => true), sleep(700, false)]))) break;
  }
  assert.ok(accepted < 32 * MIB, `${accepted} bytes were taken by nobody`);
  it.daemon.sessions[0]?.socket.resume();
  await once(stdin, 'drain');
});

test('output is not read from the socket while nobody reads it here, and nothing is lost by that', async () => {
  const block = randomBytes(32 * 1024);
  const blocks = 2048;
  let sent = 0;
  await using it = await stage({
    attached: (s) => {
      const next = (): void => {
        if (sent === blocks) return s.exit(0);
        sent += 1;
        s.socket.send(Buffer.concat([Buffer.of(CHANNEL.stdout), block]), () => next());
      };
      next();
    },
  });
  await sleep(500);
  assert.ok(sent < blocks / 2, `the server got rid of ${sent} of ${blocks} blocks`);
  assert.ok((it.session.stdout?.waiting ?? 0) < 3 * MIB);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of it.session.stdout ?? []) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  assert.equal(bytes, blocks * block.length);
  const expected = createHash('sha256');
  for (let i = 0; i < blocks; i += 1) expected.update(block);
  assert.equal(hash.digest('hex'), expected.digest('hex'));
  assert.equal((await it.session.ended).kind, 'status');
});

test('one who stops reading stdout for good does not keep stderr or the end from coming', async () => {
  await using it = await stage(
    {
      attached: (s) => {
        for (let i = 0; i < 100; i += 1) s.send(CHANNEL.stdout, Buffer.alloc(32 * 1024));
        s.send(CHANNEL.stderr, 'done');
        s.exit(0);
      },
    },
    { stderr: true },
  );
  await sleep(100);
  it.session.stdout?.destroy();
  assert.equal((await bytesOf(it.session.stderr)).toString(), 'done');
  await it.session.ended;
});

test('sizes are sent in order, zero sizes are not', async () => {
  await using it = await stage({}, { stdin: true, tty: true });
  const { session, daemon } = it;
  session.resize(80, 24);
  session.resize(0, 5);
  session.resize(100, 30);
  session.stdin?.write('x');
  for (let i = 0; i < 200 && daemon.received.length < 3; i += 1) await sleep(10);
  assert.deepEqual(daemon.received, [
    { channel: CHANNEL.resize, text: '{"Width":80,"Height":24}\n' },
    { channel: CHANNEL.resize, text: '{"Width":100,"Height":30}\n' },
    { channel: CHANNEL.stdin, text: 'x' },
  ]);
});

test('detach, by method or signal, closes cleanly and is told as such', async () => {
  for (const way of ['method', 'signal']) {
    const controller = new AbortController();
    const closed = Promise.withResolvers<number>();
    await using it = await stage(
      { attached: (s) => s.socket.on('close', closed.resolve) },
      { stdin: true, signal: controller.signal },
    );
    if (way === 'method') it.session.detach();
    else controller.abort();
    assert.deepEqual(await it.session.ended, { kind: 'detached' });
    assert.equal(await closed.promise, 1000);
  }
});

test('what is refused says how', async () => {
  await using it = await stage({});
  const { client, daemon } = it;
  await assert.rejects(attach(client, 'none'), (error) => error instanceof RpcError && error.code === 'CONTAINER_NOT_FOUND');
  const { url } = await client.runtime.attach({ containerId: daemon.container.id, stdout: true });
  const gone = url.replace(daemon.container.id, 'used-up');
  await assert.rejects(
    attachStream(gone),
    (error) => error instanceof AttachRefused && error.httpStatus === 404 && /404: no such ticket/.test(error.message),
  );
  await assert.rejects(
    attachStream('http://127.0.0.1:9/attach/x'),
    (error) => error instanceof StreamLost && /ECONNREFUSED/.test(error.message),
  );
  await assert.rejects(attachStream(url, { signal: AbortSignal.abort(new Error('no')) }), /^Error: no$/);
});
