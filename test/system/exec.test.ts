/** Exec and ExecSync in real containers: bytes, statuses, terminals, who the program is, and that nothing of it stays. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodeOf } from '@berth/attach-protocol';
import { RpcError } from '@berth/client';
import { ContainerState, SecurityProfile_ProfileType } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { frame, RawConnection, upgradeHeaders } from '../src/http.ts';
import { type Pod, runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { countDescriptors, eventually, keepsNoMemory, listProcesses, readProcess, residentBytes } from '../src/processes.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';
import { SpdyAttach } from '../src/spdy-attach.ts';
import { spdySession } from '../src/spdy-session.ts';

const MIB = 1024 * 1024;

let daemon: TestDaemon;
let pod: Pod;
let container: TestContainer;

before(async () => {
  daemon = await TestDaemon.start();
  pod = await runPod(daemon);
  container = await runContainer(daemon, pod, 'export X=of-init; while :; do sleep 1000; done', {
    env: { NAME: 'of the container' },
  });
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

type Streams = { readonly stdin?: boolean; readonly stdout?: boolean; readonly stderr?: boolean; readonly tty?: boolean };

async function execUrl(script: string, streams: Streams = {}): Promise<string> {
  const request = { containerId: container.id, cmd: ['sh', '-c', script], stdout: true, stderr: streams.tty !== true, ...streams };
  return (await daemon.client.runtime.exec(request)).url;
}

async function exec(script: string, streams: Streams = {}, protocol = 'v5.channel.k8s.io'): Promise<AttachClient> {
  return await AttachClient.open(await execUrl(script, streams), { protocol });
}

async function execSync(script: string, timeout = 60n): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const answer = await daemon.client.runtime.execSync({ containerId: container.id, cmd: ['sh', '-c', script], timeout });
  return {
    stdout: Buffer.from(answer.stdout).toString(),
    stderr: Buffer.from(answer.stderr).toString(),
    exitCode: answer.exitCode,
  };
}

/** What runs in the container besides init and its own sleep, and supervisors besides init's. */
function programs(): string[] {
  const inside = listProcesses().filter(
    ({ pid, state, command }) =>
      state !== 'Z' && !/^sleep 1000$|while :|lxc-start/.test(command) && cgroupOf(pid).includes(container.id),
  );
  const shims = listProcesses().filter(({ command }) => command.startsWith(`${daemon.state}/bin/berth-shim run`));
  return [...inside, ...shims.slice(1)].map(({ pid, command }) => `${pid} ${command}`);
}

function cgroupOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return '';
  }
}

const running = (pattern: RegExp): number => programs().filter((line) => pattern.test(line)).length;

async function onlyInit(): Promise<void> {
  await eventually(
    () => `no program is left: ${programs().join('; ')}`,
    () => programs().length === 0,
  );
}

test('streams apart, exact statuses as clients expect them, over every protocol with a status', async () => {
  for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io']) {
    using client = await exec('printf out; printf err >&2; exit 3', {}, protocol);
    const status = await client.ended();
    assert.deepEqual([client.stdout.text(), client.stderr.text(), client.closed?.code], ['out', 'err', 1000]);
    assert.equal(status?.status === 'Failure' && status.reason, 'NonZeroExitCode');
    assert.deepEqual(status?.status === 'Failure' && status.details?.causes, [{ reason: 'ExitCode', message: '3' }]);
  }
  using good = await exec('true');
  assert.equal((await good.ended())?.status, 'Success');
  using killed = await exec('kill -9 $$');
  const status = await killed.ended();
  assert.deepEqual(status?.status === 'Failure' && status.details?.causes, [{ reason: 'ExitCode', message: '137' }]);
});

test('a program runs as init does: environment, directory, user, groups, capabilities, seccomp, limits, cgroups, namespaces', async () => {
  const facts =
    'env | grep -Ev "^(_|SHLVL)=" | sort; pwd; id; umask; ulimit -a; grep -E "^(Cap|NoNew|Seccomp|Groups)" /proc/self/status; ' +
    'cat /proc/self/cgroup /proc/self/oom_score_adj /proc/self/attr/current; ls -l /proc/self/root /proc/self/cwd | sed "s/.* ->//"; ' +
    'for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done';
  const security = {
    runAsUser: { value: 1234n },
    runAsGroup: { value: 4321n },
    supplementalGroups: [77n, 88n],
    noNewPrivs: true,
    seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
    capabilities: { addCapabilities: ['SYS_PTRACE'], dropCapabilities: ['MKNOD', 'NET_RAW'] },
  };
  const compared: string[] = [];
  for (const [i, context] of [{}, security].entries()) {
    // The pod's containers share this folder, and everybody may write there.
    const file = `/dev/shm/${i}`;
    const script = `{ ${facts}; } > ${file}.part; mv ${file}.part ${file}; sleep 1001`;
    const one = await runContainer(daemon, pod, script, { env: { NAME: 'of the container' }, security: context });
    const run = async (command: string): Promise<string> => {
      const cmd = ['sh', '-c', command];
      const { stdout } = await daemon.client.runtime.execSync({ containerId: one.id, cmd, timeout: 60n });
      return Buffer.from(stdout).toString();
    };
    const init = await eventually('init has said who it is', async () => (await run(`cat ${file}`)) || undefined);
    assert.equal(await run(facts), init);
    compared.push(init);
    await daemon.client.runtime.removeContainer({ containerId: one.id });
  }
  const [plain = '', bound = ''] = compared;
  assert.match(plain, /^NAME=of the container$[^]*uid=0[^]*CapBnd:\t00000000a80425fb\n/m);
  assert.match(bound, /uid=1234 gid=4321 groups=77,88,4321\n[^]*CapBnd:\t00000000a00c05fb\n[^]*NoNewPrivs:\t1\nSeccomp:\t2$/m);
});

test('256 MiB of random data through a program and back, exact', async () => {
  const bytes = 256 * MIB;
  using client = await exec('cat', { stdin: true });
  const sent = (async () => {
    for (const block of randomBlocks(bytes)) await client.send(block);
    client.closeStdin();
  })();
  const status = await client.ended(300_000);
  await sent;
  assert.equal(status?.status, 'Success');
  assert.deepEqual([client.stdout.bytes, client.stdout.sha256()], [bytes, randomSha256(bytes)]);
});

test('a slow client gets every byte and the status, 50 of 50, the program ending right after its last write', async () => {
  const expected = createHash('sha256')
    .update(Buffer.alloc(2 * MIB, 0))
    .digest('hex');
  for (let i = 0; i < 50; i += 10) {
    await Promise.all(
      Array.from({ length: 10 }, async (_, j) => {
        using client = await exec('dd if=/dev/zero bs=64k count=32 2>/dev/null; exit 9');
        if (j % 2 === 0) {
          client.pause();
          await sleep(300);
          client.resume();
        }
        const status = await client.ended();
        assert.deepEqual([client.stdout.bytes, client.stdout.sha256()], [2 * MIB, expected]);
        assert.equal(status?.status === 'Failure' && status.reason, 'NonZeroExitCode');
      }),
    );
  }
});

test('a client that stands still holds back its own program only, and misses nothing', async () => {
  using still = await exec('dd if=/dev/zero bs=64k count=512 2>/dev/null');
  still.pause();
  await sleep(12_000);
  assert.equal((await execSync('echo others go on')).stdout, 'others go on\n');
  still.resume();
  assert.equal((await still.ended())?.status, 'Success');
  assert.equal(still.stdout.bytes, 512 * 65_536);
});

test('a terminal: its size before the first command, control characters, job control, hang-up', async () => {
  const request = { containerId: container.id, cmd: ['stty', 'size'], stdin: true, stdout: true, tty: true };
  const { url } = await daemon.client.runtime.exec(request);
  using sized = await RawConnection.open(url);
  // With the request: a command does not wait long for the size that its client sends first.
  const size = frame(0x82, Buffer.from('\x04{"Width":101,"Height":37}'));
  assert.equal(await sized.request(url, upgradeHeaders('v5.channel.k8s.io'), 'GET', size), 101);
  await eventually('its size', () => sized.received.includes('37 101\r\n'));

  using client = await exec('tty; exec sh -i', { stdin: true, tty: true });
  await client.sees(/^\/dev\/pts\/\d+\r\n/);
  // A key that comes before the shell has given the terminal to its child is input, not a signal: the child says when it runs.
  await client.send("sh -c 'echo begun; exec sleep 500'\r");
  await client.sees(/^begun\r\n$/m);
  await client.send('\x03');
  await client.send('echo after-$((40 + 2))\r');
  await client.sees(/after-42\r\n/);
  await client.send("sh -c 'echo once more; exec sleep 501'\r");
  await client.sees(/^once more\r\n$/m);
  await client.send('\x1a');
  await client.send('jobs; kill -9 %1\r');
  await client.sees(/Stopped.*sleep 501/);
  // A shell that still has a stopped job wants to be told twice.
  await client.send('exit 5\rexit 5\r');
  const status = await client.ended();
  assert.deepEqual(status?.status === 'Failure' && status.details?.causes, [{ reason: 'ExitCode', message: '5' }]);
  using left = await exec('trap "" HUP; echo deaf; sleep 502', { stdin: true, tty: true });
  await left.sees(/deaf/);
  left.kill();
  await onlyInit();
});

test('a terminal in a container with a volume at /dev, as a pod with the /dev of its node has', async () => {
  // Not the host's own: should this fail, that would be spoilt.
  const dev = mkdtempSync(join(tmpdir(), 'exec-dev-'));
  execFileSync('mount', ['-t', 'tmpfs', 'dev', dev]);
  try {
    for (const [name = '', major = '', minor = ''] of ['null 1 3', 'tty 5 0', 'ptmx 5 2'].map((node) => node.split(' ')))
      execFileSync('mknod', ['-m', '666', `${dev}/${name}`, 'c', major, minor]);
    mkdirSync(`${dev}/pts`);
    execFileSync('mount', ['--bind', '/dev/pts', `${dev}/pts`]);
    const node = await runContainer(daemon, pod, 'while :; do sleep 1000; done', {
      mounts: [{ containerPath: '/dev', hostPath: dev, readonly: false }],
    });
    const request = { containerId: node.id, cmd: ['sh', '-c', 'tty; ls /dev/null'], stdin: true, stdout: true, tty: true };
    using client = await AttachClient.open((await daemon.client.runtime.exec(request)).url);
    await client.sees(/^\/dev\/pts\/\d+\r\n\/dev\/null\r\n$/);
    assert.equal((await client.ended())?.status, 'Success');
    await daemon.client.runtime.removeContainer({ containerId: node.id });
    assert.ok(statSync(`${dev}/ptmx`).isCharacterDevice());
  } finally {
    execFileSync('umount', ['-R', dev]);
    rmdirSync(dev);
  }
});

test('what cannot be run is said before anything else', async () => {
  for (const [cmd, words] of [
    [['/nowhere'], /"\/nowhere" was not found in the container/],
    [['/etc/passwd'], /"\/etc\/passwd" cannot be executed/],
  ] as const) {
    const { url } = await daemon.client.runtime.exec({ containerId: container.id, cmd: [...cmd], stdout: true });
    using client = await AttachClient.open(url);
    const status = await client.ended();
    assert.match((status?.status === 'Failure' && status.message) || '', words);
    assert.equal(client.closed?.code, 1000);
    await assert.rejects(daemon.client.runtime.execSync({ containerId: container.id, cmd: [...cmd], timeout: 5n }), words);
  }
});

test('what comes while the container ends is told that it does not run', async () => {
  const ending = await runContainer(daemon, pod, 'read go; exit 3', { stdin: true });
  const { init } = await ending.pids();
  // Whoever holds the output is waited for; until then the end is not told.
  await using _held = await open(`/proc/${init}/fd/1`, 'w');
  using attached = await AttachClient.open(await ending.attachUrl());
  await attached.send('go\n');
  await eventually('init has ended', () => [undefined, 'Z'].includes(readProcess(init)?.state));
  let refusals = 0;
  do {
    const request = { containerId: ending.id, cmd: ['true'], timeout: 10n };
    await assert.rejects(daemon.client.runtime.execSync(request), (error: unknown) => {
      assert.ok(error instanceof RpcError, String(error));
      assert.deepEqual([error.status, error.code], ['FAILED_PRECONDITION', 'CONTAINER_NOT_RUNNING'], error.message);
      if (/is not running: its first program has ended/.test(error.message)) refusals += 1;
      else assert.match(error.message, /is not running: exited with code 3/);
      return true;
    });
  } while ((await ending.status()).state === ContainerState.CONTAINER_RUNNING);
  assert.ok(refusals > 0);
});

test('a killed client, a deadline, an ended call: the whole session is killed, and nothing is left', async () => {
  using client = await exec('sleep 600 & (sleep 601 &); sleep 602; true');
  await eventually('all of them run', () => running(/sleep 60[012]$/) === 3);
  client.kill();
  await onlyInit();
  await assert.rejects(execSync('sleep 603 & sleep 604', 1n), /did not end within 1 s/);
  assert.equal(running(/sleep 60[34]$/), 0, 'dead when the call says so');
  const call = daemon.client.runtime.execSync({ containerId: container.id, cmd: ['sleep', '605'] }, { timeoutMs: 500 });
  await assert.rejects(call, /DEADLINE_EXCEEDED|deadline/i);
  await onlyInit();
});

test('ExecSync: bounded output that says what it lacks, and what is left behind holds it up for 2 s only', async () => {
  const { stdout, stderr, exitCode } = await execSync('dd if=/dev/zero bs=64k count=320 2>/dev/null; exit 4');
  assert.deepEqual([stdout.length, exitCode], [16 * MIB - 64 * 1024, 4]);
  assert.match(stderr, /4259840 more bytes of output were cut off/);
  const began = performance.now();
  assert.deepEqual(await execSync('sleep 30 & echo started'), { stdout: 'started\n', stderr: '', exitCode: 0 });
  assert.ok(performance.now() - began < 10_000);
  await execSync('pkill -f "^sleep 30$" || kill $(ps | grep "[s]leep 30" | awk "{print \\$1}")');
  await onlyInit();
});

test('1,000 runs of `echo x; exit 3`: output once, status right, no hang', async () => {
  const lane = async (): Promise<void> => {
    for (let i = 0; i < 125; i++) {
      using client = await exec('echo x; exit 3');
      const status = await client.ended(30_000);
      assert.equal(client.stdout.text(), 'x\n');
      assert.deepEqual(status?.status === 'Failure' && status.details?.causes, [{ reason: 'ExitCode', message: '3' }]);
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
});

test('10,000 exec sessions, over WebSocket and SPDY, killed and ended, leave no descriptor, no memory, no process, no session', async () => {
  const lanes = 10;
  const killed = 'sleep 700';
  /** By turns; every fourth time an ExecSync besides. */
  const one = async (i: number): Promise<void> => {
    if (i % 4 === 0) {
      using client = await exec(killed);
      client.kill();
      await execSync('true');
    } else if (i % 4 === 1) {
      using client = await exec('echo x; exit 3');
      const status = await client.ended();
      assert.deepEqual([client.stdout.text(), status && exitCodeOf(status, 'exec')], ['x\n', 3]);
    } else if (i % 4 === 2) {
      using _client = await SpdyAttach.open(await execUrl(killed));
    } else {
      const { stdout, status } = await spdySession(await execUrl('echo x; exit 3'));
      assert.deepEqual([stdout, exitCodeOf(status, 'exec')], ['x\n', 3]);
    }
  };
  const cycle = async (times: number): Promise<void> => {
    const lane = async (from: number): Promise<void> => {
      for (let i = from; i < times; i += lanes) await one(i);
    };
    await Promise.all(Array.from({ length: lanes }, (_each, from) => lane(from)));
    await onlyInit();
    await eventually('no session is left', async () => (await daemon.client.sessions.list()).sessions.length === 0);
  };
  // Enough for Node to have compiled what is used often and to have taken the memory that it works in.
  await cycle(2_000);
  const earlier = { descriptors: countDescriptors(daemon.pid), memory: residentBytes(daemon.pid) };
  await cycle(8_000);
  await eventually('descriptors are closed', () => countDescriptors(daemon.pid) <= earlier.descriptors + 2);
  await keepsNoMemory(daemon.pid, earlier.memory, 64 * MIB);
});

test('the daemon is killed: exec sessions end and their programs with them; the container goes on', async () => {
  using client = await exec('sleep 800 & sleep 801; true');
  await eventually('both run', () => running(/sleep 80[01]$/) === 2);
  await daemon.kill();
  await eventually('the connection is gone', () => client.closed !== undefined);
  await onlyInit();
  await daemon.start();
  assert.equal((await execSync('echo back')).stdout, 'back\n');
});
