/** Real kubectls attach through an API server: pipes, terminals, detaching, every way that their streams have to the daemon. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ContainerState } from '@berth/cri-api';
import { ApiServer } from '../src/api-server/api-server.ts';
import type { ClusterPod } from '../src/api-server/pod.ts';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { checkLeg, Kubectl, legs } from '../src/kubectl.ts';
import { eventually } from '../src/processes.ts';
import { Watched } from '../src/watched.ts';

/** The first that lets go by ctrl-p ctrl-q. */
const FIRST_DETACHING = 36;
/** A shell with a prompt that no output can be mistaken for. */
const SHELL = "PS1='>> ' exec sh";

let daemon: TestDaemon;
let api: ApiServer;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
});

after(async () => {
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

async function isRunning(pod: ClusterPod): Promise<boolean> {
  const { status } = await daemon.client.runtime.containerStatus({ containerId: pod.instance().id });
  return status?.state === ContainerState.CONTAINER_RUNNING;
}

/** A line of input by a client of the test's own. */
async function say(pod: ClusterPod, line: string): Promise<void> {
  const { id: containerId } = pod.instance();
  const { url } = await daemon.client.runtime.attach({ containerId, stdin: true, stdout: true });
  using client = await AttachClient.open(url);
  await client.send(line);
  client.closeStdin();
  await client.ended();
}

for (const [number, leg] of legs().entries()) {
  describe(leg.name, () => {
    let kubectl: Kubectl;
    before(() => (kubectl = new Kubectl(leg, api, daemon.dir)));
    after(() => checkLeg(api, leg));
    const name = (what: string): string => `${what}-${number}`;

    test('attach -i to a stdin_once container: lines go in, answers come out, the end of input is its end', async () => {
      const script = 'while read -r line; do echo "got $line"; done; echo over; echo err >&2';
      await api.cluster.run(name('pipe'), script, { stdin: true, stdinOnce: true });
      const { code, stdout, stderr } = await kubectl.run(['attach', '-i', name('pipe')], 'one\ntwo\n');
      assert.equal(code, 0, stderr);
      assert.equal(stdout, 'got one\ngot two\nover\n');
      assert.match(stderr, /^err\n/m);
    });

    test('attach alone: live output without a hole, the last bytes, and the end', async () => {
      const script =
        '(i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done) & read go; kill $!; wait; echo out; echo err >&2; exit 3';
      const pod = await api.cluster.run(name('output'), script, { stdin: true });
      await using client = new Watched(kubectl.spawn(['attach', name('output')]));
      await client.sees(/\d\n/);
      await say(pod, 'go\n');
      const { code, stdout, stderr } = await client.ran();
      assert.equal(code, 0, stderr);
      assert.match(stderr, /^err\n/m);
      const lines = stdout.split('\n');
      assert.deepEqual(lines.slice(-2), ['out', '']);
      const first = Number(lines[0]);
      assert.deepEqual(
        lines.slice(0, -2),
        Array.from(lines.slice(0, -2), (_, i) => String(first + i)),
      );
    });

    for (const tty of [false, true]) {
      test(`echo list | attach -i, ${tty ? 'container with a terminal, without -t' : 'no terminal'}: the answer, then it lets go`, async () => {
        const pod = await api.cluster.run(name(`ask-${tty}`), 'while read -r line; do echo "answer to $line"; done', {
          stdin: true,
          tty,
        });
        for (const question of ['list', 'again']) {
          const { code, stdout, stderr } = await kubectl.run(['attach', '-i', name(`ask-${tty}`)], `${question}\n`);
          assert.equal(code, 0, stderr);
          assert.equal(stdout, tty ? `${question}\r\nanswer to ${question}\r\n` : `answer to ${question}\n`);
        }
        assert.ok(await isRunning(pod));
      });
    }

    test('attach -it: a terminal with its size, ctrl-C, resizes; after it has gone the shell goes on', async () => {
      const pod = await api.cluster.run(name('terminal'), SHELL, { stdin: true, tty: true });
      {
        await using screen = kubectl.atTerminal(['attach', '-it', name('terminal')]);
        await screen.prompt();
        await screen.hasSize(80, 24);
        screen.type('marker=kept; tty\r');
        await screen.sees(/^\/dev\/\S+\r$/m);
        screen.type("sh -c 'echo begun; exec sleep 1000'\r");
        await screen.sees(/^begun\r$/m);
        screen.type('\x03');
        await screen.sees(/\^C\r?\n?.*>> (\x1b\[6n)?$/s);
        screen.type('echo "status=$?"\r');
        await screen.sees(/^status=130\r$/m);
        screen.resize(132, 43);
        await screen.hasSize(132, 43);
        if (leg.age.minor >= FIRST_DETACHING) {
          screen.type('\x10\x11');
          assert.equal(await screen.ended(), 0, screen.text);
        }
      }
      assert.ok(await isRunning(pod));
      await using again = kubectl.atTerminal(['attach', '-it', name('terminal')]);
      await again.prompt();
      again.type('echo "marker is $marker"\r');
      await again.sees(/^marker is kept\r$/m);
      again.type('exit\r');
      assert.equal(await again.ended(), 0, again.text);
      await eventually('the container ends', async () => !(await isRunning(pod)));
    });

    test('the detach keys and ctrl-C without a terminal are bytes as any others', async () => {
      await api.cluster.run(name('bytes'), 'exec od -An -c', { stdin: true, stdinOnce: true });
      const { stdout } = await kubectl.run(['attach', '-i', name('bytes')], 'a\x10\x11\x03b');
      assert.match(stdout, /^ +a +020 +021 +003 +b\n$/);
    });

    test('ctrl-C without a terminal ends kubectl alone, and the input of a stdin_once container', async () => {
      for (const stdinOnce of [false, true]) {
        const pod = await api.cluster.run(name(`break-${stdinOnce}`), 'while read -r line; do echo "got $line"; done', {
          stdin: true,
          stdinOnce,
        });
        await using client = new Watched(kubectl.spawn(['attach', '-i', name(`break-${stdinOnce}`)]));
        client.write('hello\n');
        await client.sees(/^got hello\n$/);
        assert.notEqual((await client.interrupt()).code, 0);
        if (stdinOnce) {
          await eventually('the container ends', async () => !(await isRunning(pod)));
          continue;
        }
        const { stdout } = await kubectl.run(['attach', '-i', name(`break-${stdinOnce}`)], 'still there\n');
        assert.equal(stdout, 'got still there\n');
        assert.ok(await isRunning(pod));
      }
    });

    test('a container that has ended: the refusal says its state and exit code', async () => {
      const { started } = api.cluster.create({
        metadata: { name: name('over') },
        spec: {
          containers: [
            { name: 'main', command: ['sleep', '1000'] },
            { name: 'gone', command: ['sh', '-c', 'exit 3'] },
          ],
        },
      });
      await started;
      const pod = api.cluster.get('default', name('over'));
      await eventually('it ends', async () => !(await pod.isRunning(pod.instance('gone'))));
      const { code, stdout, stderr } = await kubectl.run(['attach', name('over'), '-c', 'gone']);
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, /is not running: exited with code 3/);
    });

    test('a container that is restarted while somebody is attached: the session ends well, the next one meets the new container', async () => {
      const pod = await api.cluster.run(name('restart'), 'echo "pid $$"; while read -r line; do echo "got $line"; done', {
        stdin: true,
      });
      // Who attaches before init has said its first line gets it too.
      const begun = async (): Promise<boolean> => (await kubectl.run(['logs', name('restart')])).stdout === 'pid 1\n';
      await eventually('init has begun', begun);
      await using client = new Watched(kubectl.spawn(['attach', '-i', name('restart')]));
      client.write('one\n');
      await client.sees(/^got one\n$/);
      const before = pod.instance().id;
      await pod.restart('main');
      const { code, stdout, stderr } = await client.ran();
      assert.equal(code, 0, stderr);
      assert.equal(stdout, 'got one\n');
      assert.notEqual(pod.instance().id, before);
      await eventually('the new init has begun', begun);
      const next = await kubectl.run(['attach', '-i', name('restart')], 'two\n');
      assert.equal(next.stdout, 'got two\n');
    });
  });
}
