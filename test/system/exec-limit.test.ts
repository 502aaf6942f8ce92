/** As many programs in one container as may be at one time: one more is refused, an end makes room, nothing is left behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RpcError } from '@berth/client';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually, listProcesses } from '../src/processes.ts';
import { spdySession } from '../src/spdy-session.ts';

/** MAX_EXECS of shim/src/exec.c. */
const LIMIT = 512;
/** So many calls begin at once. */
const AT_ONCE = 16;
/** For all programs to start or end, ms; generous for a loaded machine. */
const ALL_MS = 120_000;
/** Of this run alone: others may run on the machine. */
const MARK = `sleep ${1_000_000 + process.pid}`;

const programs = (): number[] =>
  listProcesses()
    .filter(({ command, state }) => command === MARK && state !== 'Z')
    .map(({ pid }) => pid);

test(`${LIMIT} programs at once in one container: the next is refused by ExecSync and Exec, an end makes room, nothing is left`, async () => {
  await using daemon = await TestDaemon.start();
  const pod = await runPod(daemon);
  const container = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });
  const bystander = await runContainer(daemon, pod, 'exec sleep 1000');
  const { runtime } = daemon.client;
  const sync = async (cmd: readonly string[], containerId = container.id) =>
    await runtime.execSync({ containerId, cmd: [...cmd], timeout: 0n }, { timeoutMs: 10 * ALL_MS });
  const says = async (text: string, containerId?: string): Promise<void> => {
    const { stdout, stderr, exitCode } = await sync(['sh', '-c', `echo '${text}'; echo err >&2; exit 3`], containerId);
    assert.deepEqual([Buffer.from(stdout).toString(), Buffer.from(stderr).toString(), exitCode], [`${text}\n`, 'err\n', 3]);
  };
  const processesBefore = listProcesses().filter(({ command }) => command.includes(daemon.state)).length;

  // Each says how it ended; a refusal is an outcome too, so that none of them goes unseen.
  const outcomes: Promise<number | string>[] = [];
  for (let started = 0; started < LIMIT; started += AT_ONCE) {
    for (let i = 0; i < AT_ONCE; i += 1)
      outcomes.push(
        sync(MARK.split(' '))
          .then(({ exitCode }) => exitCode)
          .catch((error: unknown) => String(error)),
      );
    const expected = started + AT_ONCE;
    await eventually(
      () => `${programs().length} of ${expected} programs run`,
      () => programs().length === expected,
      ALL_MS,
    );
  }

  const full = /512 programs besides its first already, the most allowed/;
  await assert.rejects(sync(['true']), (error: unknown) => {
    assert.ok(error instanceof RpcError, String(error));
    assert.deepEqual([error.status, error.code], ['RESOURCE_EXHAUSTED', 'TOO_MANY_PROGRAMS']);
    assert.match(error.message, full);
    return true;
  });
  // An exec session is told by its status: its program starts when its client comes.
  const execUrl = async (): Promise<string> =>
    (await runtime.exec({ containerId: container.id, cmd: ['echo', 'session'], stdout: true, stderr: true })).url;
  using refused = await AttachClient.open(await execUrl());
  const status = await refused.ended();
  assert.equal(status?.status, 'Failure');
  assert.match(status?.message ?? '', full);
  assert.equal(refused.closed?.code, 1000);
  // A hundred refusals change nothing, and take nobody's place.
  await Promise.all(Array.from({ length: 100 }, async () => await assert.rejects(sync(['true']), full)));
  assert.equal(programs().length, LIMIT);
  // Others do not notice: the container's own program, another container.
  using attached = await AttachClient.open(await container.attachUrl());
  await attached.send('here\n');
  await attached.sees(/^got here\n$/);
  await says('elsewhere', bystander.id);

  // The end of one makes room for one.
  const [one = 0] = programs();
  process.kill(one, 'SIGTERM');
  assert.equal(await Promise.race(outcomes), 143);
  await eventually('there is room', async () => {
    try {
      await says('room');
      return true;
    } catch (error) {
      assert.match((error as Error).message, full);
      return false;
    }
  });
  const session = await spdySession(await execUrl());
  assert.deepEqual([session.stdout, session.status.status], ['session\n', 'Success']);
  const last = sync(MARK.split(' '));
  await eventually('it is full again', () => programs().length === LIMIT);
  await assert.rejects(sync(['true']), full);

  for (const pid of programs()) process.kill(pid, 'SIGKILL');
  const codes = [...(await Promise.all(outcomes)), (await last).exitCode];
  assert.equal(codes.filter((code) => code === 143).length, 1);
  assert.deepEqual(
    codes.filter((code) => code !== 143),
    Array.from({ length: LIMIT }, () => 137),
  );
  await says('afterwards');
  await eventually(
    () =>
      `only the shims are left: ${listProcesses().filter(({ command }) => command.includes(daemon.state)).length}, ${processesBefore} before`,
    () =>
      programs().length === 0 && listProcesses().filter(({ command }) => command.includes(daemon.state)).length === processesBefore,
    ALL_MS,
  );
});
