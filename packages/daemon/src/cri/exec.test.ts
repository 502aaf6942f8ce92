import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { DaemonUnderTest, refused } from '../testing/daemon-under-test.ts';

const all = { stdin: true, stdout: true, stderr: true, tty: false };

test('Exec is refused in order, and gives a URL for the rest', async () => {
  await using host = await DaemonUnderTest.start();
  const { pod, container } = await host.running();
  const created = await host.container(pod, 'created');
  await assert.rejects(host.cri.exec({ ...all, cmd: ['x'] }), refused('INVALID_ARGUMENT', 'missing required container_id'));
  await assert.rejects(host.cri.exec({ ...all, containerId: pod, cmd: ['x'] }), refused('NOT_FOUND', pod));
  await assert.rejects(host.cri.exec({ ...all, containerId: created, cmd: ['x'] }), refused('FAILED_PRECONDITION', 'created'));
  host.runtime.freeze(container, '/cgroup/of/it');
  await assert.rejects(
    host.cri.exec({ ...all, containerId: container }),
    refused('FAILED_PRECONDITION', 'paused', '/cgroup/of/it', 'thaw'),
  );
  await assert.rejects(
    host.cri.execSync({ containerId: container, cmd: ['out'] }),
    refused('FAILED_PRECONDITION', 'paused', '/cgroup/of/it', 'thaw'),
  );
  host.runtime.freeze(container, undefined);
  await assert.rejects(host.cri.exec({ ...all, containerId: container }), refused('INVALID_ARGUMENT', 'no command'));
  await assert.rejects(host.cri.exec({ ...all, containerId: container, cmd: [''] }), refused('INVALID_ARGUMENT', 'no command'));
  await assert.rejects(
    host.cri.exec({ containerId: container, cmd: ['x'], tty: true, stderr: true }),
    refused('INVALID_ARGUMENT', 'tty and stderr cannot both be true'),
  );
  await assert.rejects(
    host.cri.exec({ containerId: container, cmd: ['x'], tty: true }),
    refused('INVALID_ARGUMENT', 'one of stdin, stdout, or stderr must be set'),
  );
  const { url } = await host.cri.exec({ ...all, containerId: container.slice(0, 13), cmd: ['sh', '-c', 'x'] });
  assert.equal(url, 'http://127.0.0.1:0/exec/ticket-1');
  assert.deepEqual(host.execsIssued, [{ containerId: container, streams: all, command: ['sh', '-c', 'x'] }]);
  await host.runtime.exit(container, 7);
  await host.cri.stopContainer({ containerId: container, timeout: 5n });
  await assert.rejects(
    host.cri.exec({ ...all, containerId: container, cmd: ['x'] }),
    refused('FAILED_PRECONDITION', 'exited', '7'),
  );
});

test('ExecSync: output by stream, exit codes, what cannot be started', async () => {
  await using host = await DaemonUnderTest.start();
  const { container: containerId } = await host.running();
  const run = async (...cmd: string[]): Promise<[string, string, number]> => {
    const { stdout, stderr, exitCode } = await host.cri.execSync({ containerId, cmd, timeout: 10n });
    return [Buffer.from(stdout).toString(), Buffer.from(stderr).toString(), exitCode];
  };
  assert.deepEqual(await run('out', 'a\0b'), ['a\0b', '', 0]);
  assert.deepEqual(await run('err', 'c'), ['', 'c', 0]);
  assert.deepEqual(await run('exit', '3'), ['', '', 3]);
  await assert.rejects(run('missing'), refused('INVALID_ARGUMENT', 'the command "missing" was not found in the container'));
  await assert.rejects(run('full'), refused('RESOURCE_EXHAUSTED', '512 programs besides its first already'));
  const { EAGAIN, ENOMEM, ESRCH, EIO } = constants.errno;
  await assert.rejects(run('fails', 'system', `${EAGAIN}`), refused('RESOURCE_EXHAUSTED', 'as many processes as it may'));
  await assert.rejects(run('fails', 'noexec', `${EAGAIN}`), refused('RESOURCE_EXHAUSTED', 'the user', 'RLIMIT_NPROC'));
  await assert.rejects(run('fails', 'system', `${ENOMEM}`), refused('RESOURCE_EXHAUSTED', 'no memory'));
  await assert.rejects(run('fails', 'noexec', `${ENOMEM}`), refused('RESOURCE_EXHAUSTED', 'no memory'));
  await assert.rejects(run('fails', 'system', `${ESRCH}`), refused('FAILED_PRECONDITION', 'is not running: its first program has'));
  await assert.rejects(run('fails', 'system', `${EIO}`), refused('INTERNAL', 'could not be run in the container'));
  await assert.rejects(host.cri.execSync({ containerId, cmd: [] }), refused('INVALID_ARGUMENT', 'no command'));
  await assert.rejects(host.cri.execSync({ cmd: ['out'] }), refused('INVALID_ARGUMENT', 'container_id'));
});

test('ExecSync output is bounded so that clients can take the answer, and says what it lacks', async () => {
  await using host = await DaemonUnderTest.start();
  const { container: containerId } = await host.running();
  const limit = 16 * 1024 * 1024 - 64 * 1024;
  const exact = await host.cri.execSync({ containerId, cmd: ['big', `${limit}`] });
  assert.deepEqual([exact.stdout.length, exact.stderr.length], [limit, 0]);
  const { stdout, stderr, exitCode } = await host.cri.execSync({ containerId, cmd: ['big', `${limit + 131_072}`] });
  assert.deepEqual([stdout.length, exitCode], [limit, 0]);
  assert.match(Buffer.from(stderr).toString(), /\[berth: 131072 more bytes of output were cut off/);
});

test('ExecSync: its time-out and the end of the call kill the command', async () => {
  await using host = await DaemonUnderTest.start();
  const { container: containerId } = await host.running();
  await assert.rejects(
    host.cri.execSync({ containerId, cmd: ['hang'], timeout: 1n }),
    refused('DEADLINE_EXCEEDED', 'did not end within 1 s', 'was killed'),
  );
  assert.equal(host.runtime.execsKilled, 1);
  await assert.rejects(host.cri.execSync({ containerId, cmd: ['hang'] }, { deadline: 3_000 }), refused('DEADLINE_EXCEEDED'));
  for (let i = 0; i < 100 && host.runtime.execsKilled < 2; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(host.runtime.execsKilled, 2);
});

test('ExecSync: a command that has ended in time is not late because others hold its output', async () => {
  await using host = await DaemonUnderTest.start();
  const { container: containerId } = await host.running();
  const { exitCode } = await host.cri.execSync({ containerId, cmd: ['held', '9'], timeout: 1n });
  assert.equal(exitCode, 9);
  assert.equal(host.runtime.execsKilled, 0);
});
