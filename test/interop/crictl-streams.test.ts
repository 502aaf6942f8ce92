/** The real crictl attaches and runs commands over both transports: pipes, terminals, exit codes, detach keys, ctrl-C, resizes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ContainerState } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { crictl, crictlAtTerminal, crictlProcess, TRANSPORTS } from '../src/crictl.ts';
import { TestDaemon } from '../src/daemon.ts';
import { feed, sumOf } from '../src/hashing.ts';
import { type Pod, runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { eventually, listProcesses } from '../src/processes.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';
import { Watched } from '../src/watched.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** What crictl lets go by. */
const DETACH = '\x10\x11';
const ECHO = 'while read -r line; do echo "got $line"; done; echo over; echo err >&2';
const SHELL = "PS1='>> ' exec sh";

let daemon: TestDaemon;
let pod: Pod;
let box: TestContainer;

before(async () => {
  daemon = await TestDaemon.start();
  pod = await runPod(daemon);
  box = await runContainer(daemon, pod, 'exec sleep 100000');
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

async function isRunning(container: TestContainer): Promise<boolean> {
  return (await container.status()).state === ContainerState.CONTAINER_RUNNING;
}

/** A line of input by a client of the test's own. */
async function say(container: TestContainer, line: string): Promise<void> {
  using client = await AttachClient.open(await container.attachUrl());
  await client.send(line);
  client.closeStdin();
  await client.ended();
}

const watched = (args: readonly string[]): Watched => new Watched(crictlProcess(daemon, args));

for (const transport of TRANSPORTS) {
  const attach = (...args: readonly string[]): string[] => ['attach', '-r', transport, ...args];
  const exec = (...args: readonly string[]): string[] => ['exec', '-r', transport, ...args];

  describe(`attach over ${transport}`, () => {
    test('-i: lines go in, answers come out, the end of input is the end of a stdin_once container', async () => {
      const container = await runContainer(daemon, pod, ECHO, { stdin: true, stdinOnce: true });
      const ran = await crictl(daemon, attach('-i', container.id), 'one\ntwo\n');
      assert.deepEqual(ran, { code: 0, stdout: 'got one\ngot two\nover\n', stderr: 'err\n' });
      assert.equal((await container.exited()).exitCode, 0);
    });

    test('without -i: live output without a hole, the last bytes, and the end', async () => {
      const script =
        '(i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done) & read go; kill $!; wait; echo out; echo err >&2; exit 3';
      const container = await runContainer(daemon, pod, script, { stdin: true });
      await using client = watched(attach(container.id));
      await client.sees(/\d\n/);
      await say(container, 'go\n');
      const { code, stdout, stderr } = await client.ran();
      assert.equal(code, 0, stderr);
      assert.equal(stderr, 'err\n');
      const lines = stdout.split('\n');
      assert.deepEqual(lines.slice(-2), ['out', '']);
      const first = Number(lines[0]);
      assert.deepEqual(
        lines.slice(0, -2),
        Array.from(lines.slice(0, -2), (_, i) => String(first + i)),
      );
    });

    test('1 GiB in and out again at once, every byte', async () => {
      const container = await runContainer(daemon, pod, 'exec cat', { stdin: true, stdinOnce: true, log: false });
      const child = crictlProcess(daemon, attach('-i', container.id));
      const [sum] = await Promise.all([sumOf(child.stdout!), feed(child.stdin!, randomBlocks(GIB))]);
      assert.deepEqual(sum, { bytes: GIB, sha256: randomSha256(GIB) });
      assert.equal((await container.exited()).exitCode, 0);
    });

    test('-it: a terminal with its size, ctrl-C, resizes, detach keys; the shell goes on', async () => {
      const container = await runContainer(daemon, pod, SHELL, { stdin: true, tty: true });
      {
        await using screen = crictlAtTerminal(daemon, attach('-i', '-t', container.id));
        await screen.prompt();
        screen.type('marker=kept; tty\r');
        await screen.sees(/^\/dev\/\S+\r$/m);
        await screen.hasSize(80, 24);
        screen.type("sh -c 'echo begun; exec sleep 1000'\r");
        await screen.sees(/^begun\r$/m);
        screen.type('\x03');
        await screen.sees(/\^C[^]*>> (\x1b\[6n)?$/);
        screen.type('echo "status=$?"\r');
        await screen.sees(/^status=130\r$/m);
        screen.resize(132, 43);
        await screen.hasSize(132, 43);
        screen.type(DETACH);
        assert.equal(await screen.ended(), 0, screen.text);
      }
      assert.ok(await isRunning(container));
      await using again = crictlAtTerminal(daemon, attach('-i', '-t', container.id));
      await again.prompt();
      again.type('echo "marker is $marker"\r');
      await again.sees(/^marker is kept\r$/m);
      again.type('exit 3\r');
      assert.equal(await again.ended(), 0, again.text);
      assert.equal((await container.exited()).exitCode, 3);
    });

    test('ctrl-C without a terminal ends crictl alone, and the input of a stdin_once container', async () => {
      for (const stdinOnce of [false, true]) {
        const container = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', {
          stdin: true,
          stdinOnce,
        });
        await using client = watched(attach('-i', container.id));
        client.write('hello\n');
        await client.sees(/^got hello\n$/);
        await client.interrupt();
        if (stdinOnce) {
          await container.exited();
          continue;
        }
        const next = await crictl(daemon, attach('-i', container.id), 'still there\n');
        assert.deepEqual(next, { code: 0, stdout: 'got still there\n', stderr: '' });
        assert.ok(await isRunning(container));
      }
    });

    test('the detach keys without a terminal are bytes as any others', async () => {
      const container = await runContainer(daemon, pod, 'exec od -An -c', { stdin: true, stdinOnce: true });
      const { stdout } = await crictl(daemon, attach('-i', container.id), `a${DETACH}\x03b`);
      assert.match(stdout, /^ +a +020 +021 +003 +b\n$/);
    });

    test('two stdin clients of a stdin_once container: the first to leave ends its input, the other keeps its output', async () => {
      const script = 'while read -r line; do echo "got $line"; done; sleep 1; echo over';
      const container = await runContainer(daemon, pod, script, { stdin: true, stdinOnce: true });
      await using first = watched(attach('-i', container.id));
      first.write('one\n');
      await first.sees(/^got one\n$/);
      await using second = watched(attach('-i', container.id));
      second.write('two\n');
      await second.sees(/^got two\n$/);
      await first.sees(/^got one\ngot two\n$/);
      first.child.kill('SIGKILL');
      const { code, stdout, stderr } = await second.ran();
      assert.equal(stdout, 'got two\nover\n');
      assert.equal(code, 0, stderr);
      assert.equal((await container.exited()).exitCode, 0);
    });

    test('a container that has ended, and one that is not there', async () => {
      const container = await runContainer(daemon, pod, 'exit 3');
      await container.exited();
      const ended = await crictl(daemon, attach(container.id));
      assert.notEqual(ended.code, 0);
      assert.match(ended.stderr, /FailedPrecondition.*is not running: exited with code 3/);
      const none = await crictl(daemon, attach('0'.repeat(64)));
      assert.notEqual(none.code, 0);
      assert.match(none.stderr, /NotFound/);
    });
  });

  describe(`exec over ${transport}`, () => {
    const sh = (script: string): string[] => exec(box.id, 'sh', '-c', script);

    test('output and errors apart, exit codes, a signal, a command that is not there', async () => {
      assert.deepEqual(await crictl(daemon, sh('echo out; echo err >&2')), { code: 0, stdout: 'out\n', stderr: 'err\n' });
      for (const [script, status] of [
        ['exit 3', 3],
        ['exit 255', 255],
        ['kill -9 $$', 137],
      ] as const) {
        const failed = await crictl(daemon, sh(`echo x; ${script}`));
        assert.equal(failed.stdout, 'x\n');
        // crictl's own exit code is 1 whatever the command's is: it says that one.
        assert.notEqual(failed.code, 0);
        assert.match(failed.stderr, new RegExp(`exit code ${status}\\b`));
      }
      const none = await crictl(daemon, exec(box.id, '/no/such/command'));
      assert.notEqual(none.code, 0);
      assert.match(none.stderr, /\/no\/such\/command/);
    });

    test('1 GiB in and out again at once, every byte', async () => {
      const child = crictlProcess(daemon, exec('-i', box.id, 'cat'));
      const [sum] = await Promise.all([sumOf(child.stdout!), feed(child.stdin!, randomBlocks(GIB))]);
      assert.deepEqual(sum, { bytes: GIB, sha256: randomSha256(GIB) });
    });

    test('-it: a terminal with its size, ctrl-C, resizes', async () => {
      await using screen = crictlAtTerminal(daemon, exec('-i', '-t', box.id, 'sh'));
      await screen.prompt();
      screen.type('tty\r');
      await screen.sees(/^\/dev\/\S+\r$/m);
      await screen.hasSize(80, 24);
      screen.type("sh -c 'echo begun; exec sleep 1000'\r");
      await screen.sees(/^begun\r$/m);
      screen.type('\x03');
      await screen.sees(/\^C[^]*[#$] (\x1b\[6n)?$/);
      screen.type('echo "status=$?"\r');
      await screen.sees(/^status=130\r$/m);
      screen.resize(132, 43);
      await screen.hasSize(132, 43);
      screen.type('exit\r');
      assert.equal(await screen.ended(), 0, screen.text);
    });

    test('ctrl-C without a terminal, and detach keys with one, leave nothing of the command behind', async () => {
      const seconds = transport === 'spdy' ? '90177' : '90277';
      const left = (): number => listProcesses().filter(({ command }) => command === `sleep ${seconds}`).length;
      await using client = watched(exec('-i', box.id, 'sh', '-c', `sleep ${seconds} & echo up; sleep ${seconds}; wait`));
      await client.sees(/^up\n$/);
      await eventually('both sleep', () => left() === 2);
      await client.interrupt();
      await eventually('nothing of it is left', () => left() === 0);
      {
        await using screen = crictlAtTerminal(daemon, exec('-i', '-t', box.id, 'sh', '-c', `echo up; exec sleep ${seconds}`));
        await screen.sees(/up\r\n/);
        await eventually('it sleeps', () => left() === 1);
        // To crictl they are the end of the input; a command with a terminal goes on until somebody closes that.
        screen.type(DETACH);
        await screen.sees(/read escape sequence/);
        assert.equal(left(), 1);
      }
      await eventually('nothing of it is left', () => left() === 0);
    });
  });
}

test('exec -s: output, errors, exit codes, a time-out', async () => {
  const sync = (script: string, ...flags: readonly string[]) =>
    crictl(daemon, ['exec', '-s', ...flags, box.id, 'sh', '-c', script]);
  // crictl prints one after the other, each with a newline of its own.
  assert.deepEqual(await sync('echo out; echo err >&2'), { code: 0, stdout: 'out\n\nerr\n\n', stderr: '' });
  const failed = await sync('echo x; exit 3');
  assert.notEqual(failed.code, 0);
  assert.match(failed.stderr, /'sh -c echo x; exit 3' exited with 3: /);
  const late = await sync('echo x; exec sleep 90377', '--timeout', '1');
  assert.notEqual(late.code, 0);
  assert.match(late.stderr, /DeadlineExceeded/);
  await eventually('nothing of it is left', () => !listProcesses().some(({ command }) => command === 'sleep 90377'));
  const large = await sync('head -c 1000000 /dev/zero | tr "\\0" x');
  assert.equal(large.stdout, `${'x'.repeat(1_000_000)}\n\n`);
});
