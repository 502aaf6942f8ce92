/** Exec into containers that have as many processes as they may: told as such where the kernel refuses; an end makes room. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { test } from 'node:test';
import { RpcError } from '@berth/client';
import { AttachClient } from '../src/attach.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { eventually, listProcesses } from '../src/processes.ts';
import { daemonWithPod } from '../src/suite.ts';

/** Of this run alone: others may run on the machine. */
const MARK = `sleep ${1_000_000 + process.pid}`;
/** Below 300 no number is given twice in a namespace (RESERVED_PIDS of the kernel): some above that are for what comes and goes. */
const PID_MAX = 310;
const FIRST_REUSED = 300;
/** What the container begins with: quicker than by Exec. */
const OWN = 290;
/** No user of the machine has it. */
const USER = 1_000_000_000 + process.pid;

const { daemon, pod } = await daemonWithPod();
const { runtime } = daemon.client;

const sync = async ({ id }: TestContainer, ...cmd: string[]): Promise<{ out: string; err: string; code: number }> => {
  const { stdout, stderr, exitCode } = await runtime.execSync({ containerId: id, cmd, timeout: 0n }, { timeoutMs: 300_000 });
  return { out: Buffer.from(stdout).toString(), err: Buffer.from(stderr).toString(), code: exitCode };
};

/** The status that an exec session ends with; its output is empty. */
async function session({ id }: TestContainer, tty: boolean, ...cmd: string[]) {
  const { url } = await runtime.exec({ containerId: id, cmd, stdout: true, tty });
  using client = await AttachClient.open(url);
  const status = await client.ended();
  assert.deepEqual([client.closed?.code, client.stdout.bytes], [1000, 0]);
  return status;
}

/** ExecSync and Exec, with and without a terminal, say the same. */
async function refused(container: TestContainer, words: RegExp): Promise<void> {
  await assert.rejects(sync(container, 'true'), (error: unknown) => {
    assert.ok(error instanceof RpcError, String(error));
    assert.deepEqual([error.status, error.code], ['RESOURCE_EXHAUSTED', 'TOO_MANY_PROCESSES']);
    assert.match(error.message, words);
    return true;
  });
  for (const tty of [false, true]) {
    const status = await session(container, tty, 'true');
    assert.equal(status?.status, 'Failure');
    assert.match(status?.message ?? '', words);
  }
}

/** Marked processes as a container's namespace numbers them. */
const sleeping = (): { pid: number; inside: number }[] =>
  listProcesses()
    .filter(({ command, state }) => command === MARK && state !== 'Z')
    .map(({ pid }) => ({ pid, inside: Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^NSpid:.*\t(\d+)$/m)?.[1]) }));

/** Kernels before 6.14 have one `kernel.pid_max` for the whole machine. */
function hasPidMaxOfNamespace(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 14);
}

test('no number is left in its pid namespace: Exec and ExecSync say that the container is full, an end makes room', async (t) => {
  if (!hasPidMaxOfNamespace()) return t.skip(`kernel.pid_max is the whole machine's with Linux ${release()}`);
  const container = await runContainer(daemon, pod, `i=1; while [ $i -lt ${OWN} ]; do ${MARK} & i=$((i+1)); done; exec ${MARK}`);
  await eventually('the container has its own processes', () => sleeping().length === OWN);
  const bystander = await runContainer(daemon, pod, 'exec sleep 1000');
  const { init } = await container.pids();
  execFileSync('nsenter', ['-t', `${init}`, '-p', 'sh', '-c', `echo ${PID_MAX} > /proc/sys/kernel/pid_max`]);

  // Each says how it ended.
  const programs: Promise<number | string>[] = [];
  const more = async (): Promise<boolean> => {
    const program = sync(container, ...MARK.split(' '))
      .then(({ code }) => code)
      .catch((error: unknown) => String(error));
    const before = sleeping().length;
    let over = false;
    void program.then(() => {
      over = true;
    });
    while (!over && sleeping().length === before) await new Promise((resolve) => setTimeout(resolve, 5));
    if (!over) programs.push(program);
    return !over;
  };
  while (await more()) assert.ok(programs.length < PID_MAX);
  assert.ok(programs.length > 0);

  const full = /nothing more can be run in container [0-9a-f]{64} now: the container has as many processes as it may/;
  await refused(container, full);
  assert.equal((await sync(bystander, 'echo', 'elsewhere')).out, 'elsewhere\n');

  const one = sleeping().find(({ inside }) => inside >= FIRST_REUSED);
  assert.ok(one !== undefined);
  process.kill(one.pid, 'SIGTERM');
  assert.equal(await Promise.race(programs), 143);
  assert.deepEqual(await sync(container, 'echo', 'room'), { out: 'room\n', err: '', code: 0 });
  assert.equal((await session(container, false, 'true'))?.status, 'Success');
  assert.ok(await more());
  await refused(container, full);

  await runtime.stopContainer({ containerId: container.id, timeout: 0n });
  const codes = await Promise.all(programs);
  assert.deepEqual(
    codes.filter((code) => code !== 143),
    Array.from({ length: codes.length - 1 }, () => 137),
  );
});

test('the pids cgroup is full: programs come in all the same, and cannot make processes themselves', async (t) => {
  const container = await runContainer(daemon, pod, 'sleep 1000 & sleep 1000 & exec sleep 1000');
  const { init } = await container.pids();
  const cgroups = readFileSync(`/proc/${init}/cgroup`, 'utf8');
  const [, v1] = /^\d+:pids:(.*)$/m.exec(cgroups) ?? [];
  const [, v2 = ''] = /^0::(.*)$/m.exec(cgroups) ?? [];
  const directory = v1 === undefined ? `/sys/fs/cgroup${v2}` : `/sys/fs/cgroup/pids${v1}`;
  if (!existsSync(`${directory}/pids.max`)) return t.skip('this host has no pids controller');
  writeFileSync(`${directory}/pids.max`, readFileSync(`${directory}/pids.current`));
  assert.deepEqual(await sync(container, 'echo', 'in'), { out: 'in\n', err: '', code: 0 });
  assert.equal((await session(container, true, 'true'))?.status, 'Success');
  const { err, code } = await sync(container, 'sh', '-c', '(true); echo no');
  assert.match(err, /can't fork/);
  assert.notEqual(code, 0);
});

test("the program's user has as many processes as one may have: said as such, not as a fault of the command", async () => {
  const container = await runContainer(daemon, pod, 'sleep 1000 & sleep 1000 & exec sleep 1000', { user: USER });
  const { shim } = await container.pids();
  assert.equal((await sync(container, 'id', '-u')).out, `${USER}\n`);
  const [, before = ''] = /^Max processes +(\S+) /m.exec(readFileSync(`/proc/${shim}/limits`, 'utf8')) ?? [];
  // The soft limit only: a hard one does not come back.
  execFileSync('prlimit', [`--pid=${shim}`, '--nproc=2:']);
  await refused(container, /the user of the program has as many processes as one may have \(RLIMIT_NPROC\)/);
  execFileSync('prlimit', [`--pid=${shim}`, `--nproc=${before}:`]);
  assert.equal((await sync(container, 'id', '-u')).out, `${USER}\n`);
});
