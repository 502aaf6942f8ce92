/** Real kubectls run commands in a container: streams, exit codes, terminals, input; what is left when one is killed. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiServer } from '../src/api-server/api-server.ts';
import { TestDaemon } from '../src/daemon.ts';
import { feed, sumOf } from '../src/hashing.ts';
import { checkLeg, Kubectl, legs } from '../src/kubectl.ts';
import { eventually, listProcesses } from '../src/processes.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';
import { Watched } from '../src/watched.ts';

const MIB = 1024 * 1024;

let daemon: TestDaemon;
let api: ApiServer;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
  await api.cluster.run('box', 'exec sleep 100000');
});

after(async () => {
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

/** What comes, to a reader that stops for a moment after every MiB. */
async function* haltingly(stream: Readable): AsyncGenerator<Buffer> {
  let since = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    yield chunk;
    since += chunk.length;
    if (since < MIB) continue;
    since = 0;
    await sleep(20);
  }
}

/** Sends random bytes to a command; gives what comes back by `output`, what it says on stderr, and how it ends. */
async function inAndOut(kubectl: Kubectl, child: ChildProcess, bytes: number, output: Readable) {
  const [sum, said] = await Promise.all([
    sumOf(output),
    text(child.stderr!),
    once(child, 'exit'),
    feed(child.stdin!, randomBlocks(bytes)),
  ]);
  return { ...sum, said: kubectl.said(said), code: child.exitCode };
}

for (const [number, leg] of legs().entries()) {
  describe(leg.name, () => {
    let kubectl: Kubectl;
    before(() => (kubectl = new Kubectl(leg, api, daemon.dir)));
    after(() => checkLeg(api, leg));
    const sh = (script: string): string[] => ['exec', 'box', '--', 'sh', '-c', script];

    test('output and errors apart, exit codes, a signal', async () => {
      assert.deepEqual(await kubectl.run(sh('echo out; echo err >&2')), { code: 0, stdout: 'out\n', stderr: 'err\n' });
      const failed = await kubectl.run(sh('echo x; exit 3'));
      assert.deepEqual([failed.code, failed.stdout, failed.stderr], [3, 'x\n', 'command terminated with exit code 3\n']);
      assert.equal((await kubectl.run(sh('exit 255'))).code, 255);
      assert.equal((await kubectl.run(sh('kill -9 $$'))).code, 137);
    });

    test('a command that is not there', async () => {
      const { code, stdout, stderr } = await kubectl.run(['exec', 'box', '--', '/no/such/command']);
      assert.notEqual(code, 0);
      assert.equal(stdout, '');
      assert.match(stderr, /\/no\/such\/command/);
    });

    test('32 MiB in and out again at once, every byte, five times; the end of input is seen', async () => {
      for (let run = 0; run < 5; run += 1) {
        const child = kubectl.spawn(['exec', '-i', 'box', '--', 'sh', '-c', 'cat; echo over >&2']);
        const back = await inAndOut(kubectl, child, 32 * MIB, child.stdout!);
        assert.deepEqual(back, { bytes: 32 * MIB, sha256: randomSha256(32 * MIB), said: 'over\n', code: 0 });
      }
    });

    test('64 MiB in and out again to a reader that stops now and then, every byte', async () => {
      const child = kubectl.spawn(['exec', '-i', 'box', '--', 'cat']);
      const back = await inAndOut(kubectl, child, 64 * MIB, Readable.from(haltingly(child.stdout!)));
      assert.deepEqual(back, { bytes: 64 * MIB, sha256: randomSha256(64 * MIB), said: '', code: 0 });
    });

    test('-it: a terminal with its size, ctrl-C, resizes, the exit code', async () => {
      await using screen = kubectl.atTerminal(['exec', '-it', 'box', '--', 'sh']);
      await screen.sees(/[#$] (\x1b\[6n)?$/);
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
      screen.type('exit 7\r');
      assert.equal(await screen.ended(), 7, screen.text);
    });

    test('kubectl that is killed, or interrupted, leaves nothing of its command behind', async () => {
      for (const signal of ['SIGKILL', 'SIGINT'] as const) {
        const seconds = `9${number}${signal === 'SIGINT' ? 1 : 2}77`;
        const script = `sleep ${seconds} & echo up; sleep ${seconds}; wait`;
        await using client = new Watched(kubectl.spawn(['exec', '-i', 'box', '--', 'sh', '-c', script]));
        await client.sees(/^up\n$/);
        const left = (): number => listProcesses().filter(({ command }) => command === `sleep ${seconds}`).length;
        await eventually('both sleep', () => left() === 2);
        client.child.kill(signal);
        await client.ran();
        await eventually('nothing of the command is left', () => left() === 0);
      }
    });
  });
}
