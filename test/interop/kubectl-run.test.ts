/** Real kubectls make pods and debug containers, stay attached to them, and read logs: no line lost, none doubled. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../src/api-server/api-server.ts';
import { READY_WHEN_LOGGED } from '../src/api-server/pod.ts';
import { collect } from '../src/crictl.ts';
import { TestDaemon } from '../src/daemon.ts';
import { sameText } from '../src/hashing.ts';
import { checkLeg, Kubectl, legs } from '../src/kubectl.ts';
import { IMAGE } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

/** The first that prints the log from before it was attached. */
const FIRST_WITH_LOG = 36;
/** The first that adds debug containers by a patch; older ones speak an API that is gone. */
const FIRST_DEBUG = 25;
const LINES = 100_000;

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

const numbers = (count: number): string => Array.from({ length: count }, (_, i) => `${i + 1}\n`).join('');

for (const [number, leg] of legs().entries()) {
  describe(leg.name, () => {
    let kubectl: Kubectl;
    before(() => (kubectl = new Kubectl(leg, api, daemon.dir)));
    after(() => checkLeg(api, leg));
    const name = (what: string): string => `${what}-${number}`;
    const run = (pod: string, flags: readonly string[], script: string): string[] => {
      const fixed = ['--image', IMAGE, '--restart=Never', '--quiet', '--pod-running-timeout=2m'];
      return ['run', name(pod), ...fixed, ...flags, '--', 'sh', '-c', script];
    };
    /** Ready once this has been logged, so that what comes before is known to have been written before the attach. */
    const readyWhen = (text: string): string => `--annotations=${READY_WHEN_LOGGED}=${text}`;

    test(`run -i --rm > file: ${LINES} lines, each once, and the exit code`, async () => {
      const file = join(daemon.dir, `lines-${number}`);
      const output = openSync(file, 'w');
      const args = run('lines', ['-i', '--rm', readyWhen('first')], `echo first; read go; seq 1 ${LINES}; echo $go; exit 3`);
      const child = kubectl.spawn(args, output);
      closeSync(output);
      const done = collect(child);
      child.stdin?.end('last\n');
      const { code, stderr } = await done;
      assert.equal(code, 3, stderr);
      const text = readFileSync(file, 'utf8');
      const early = leg.age.minor >= FIRST_WITH_LOG ? 'first\n' : '';
      sameText(text, `${early}${numbers(LINES)}last\n`);
      assert.equal((await kubectl.run(['get', 'pod', name('lines')])).code, 1, 'the pod is gone');
    });

    test('run -i --rm of a command that is over before anybody attaches: the log, once', async () => {
      const args = run('quick', ['-i', '--rm', readyWhen('never')], 'seq 1 1000; echo err >&2');
      const { code, stdout, stderr } = await kubectl.run(args);
      assert.equal(code, 0, stderr);
      sameText(stdout.replace('err\n', ''), numbers(1000));
      assert.ok(stdout.includes('err\n'));
    });

    test('run -it --rm: a terminal, the exit code', async () => {
      await using screen = kubectl.atTerminal(run('terminal', ['-i', '-t', '--rm'], 'exec sh'));
      await screen.prompt();
      await screen.hasSize(80, 24);
      screen.type('echo "pid $$"\r');
      await screen.sees(/^pid 1\r$/m);
      screen.type('exit 5\r');
      assert.equal(await screen.ended(), 5, screen.text);
    });

    test('logs, logs -f until the end, logs --tail', async () => {
      const pod = await api.cluster.run(name('log'), 'seq 1 5000; read go; seq 5001 6000; printf "no newline"', { stdin: true });
      await eventually('the first lines are logged', () => readFileSync(pod.instance().logFile, 'utf8').includes(' 5000\n'));
      sameText((await kubectl.run(['logs', name('log')])).stdout, numbers(5000));
      assert.equal((await kubectl.run(['logs', '--tail=3', name('log')])).stdout, '4998\n4999\n5000\n');
      const follower = collect(kubectl.spawn(['logs', '-f', name('log')]));
      await kubectl.run(['attach', '-i', name('log')], 'go\n');
      sameText((await follower).stdout, `${numbers(6000)}no newline`);
    });

    test('debug -it, then attaching to the debug container again', { skip: leg.age.minor < FIRST_DEBUG }, async () => {
      await api.cluster.run(name('debugged'), 'exec sleep 100000');
      const args = ['debug', '-it', name('debugged'), '--image', IMAGE, '-c', 'looker', '--profile=general', '--', 'sh'];
      {
        await using screen = kubectl.atTerminal(args);
        await screen.prompt();
        await screen.hasSize(80, 24);
        screen.type('marker=kept; echo "is $marker"\r');
        await screen.sees(/^is kept\r$/m);
      }
      await using again = kubectl.atTerminal(['attach', '-it', name('debugged'), '-c', 'looker']);
      await again.prompt();
      again.type('echo "marker is $marker"\r');
      await again.sees(/^marker is kept\r$/m);
      again.type('exit\r');
      assert.equal(await again.ended(), 0, again.text);
    });
  });
}
