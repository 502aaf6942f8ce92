/** Kubernetes' own JavaScript client through an API server: Attach, Exec, PortForward and Cp, WebSocket raw and translated to SPDY. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Attach, Cp, Exec, KubeConfig, PortForward, type V1Status } from '@kubernetes/client-node';
import { ApiServer } from '../src/api-server/api-server.ts';
import { TestDaemon } from '../src/daemon.ts';
import { sumOf, sumOfTree } from '../src/hashing.ts';
import { PodServer, PORTS } from '../src/port-forward.ts';
import { eventually } from '../src/processes.ts';
import { randomBlocks, randomFile, randomSha256 } from '../src/random.ts';

const MIB = 1024 * 1024;

let daemon: TestDaemon;
let api: ApiServer;
let server: PodServer;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
  const pod = await api.cluster.run('box', 'mkdir /copies; exec sleep 100000');
  server = await PodServer.start(daemon, pod.sandboxId);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

for (const way of ['raw', 'translated'] as const) {
  describe(way, () => {
    let config: KubeConfig;
    before(() => {
      config = new KubeConfig();
      // Plain HTTP is allowed only to those who verify nothing.
      config.loadFromClusterAndUser({ name: 'test', server: api.url(way), skipTLSVerify: true }, { name: 'nobody' });
    });
    after(() => {
      assert.deepEqual(api.faults.splice(0), []);
      const upgrades = api.upgrades.splice(0).filter((upgrade) => !upgrade.startsWith('portforward'));
      assert.ok(upgrades.length > 0 && upgrades.every((upgrade) => upgrade.endsWith(`websocket ${way}`)), upgrades.join());
    });

    /** Runs a command; resolves with its streams and status when the connection is closed. */
    async function run(command: string[], input: Readable | null = null, tty = false) {
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      const texts = Promise.all([sumOf(stdout), text(stderr)]);
      const { promise: status, resolve } = Promise.withResolvers<V1Status>();
      const socket = await new Exec(config).exec(
        'default',
        'box',
        'main',
        command,
        stdout,
        tty ? null : stderr,
        input,
        tty,
        resolve,
      );
      if (tty) stderr.end();
      const said = await status;
      const [out, err] = await texts;
      await eventually('the connection is closed', () => socket.readyState === socket.CLOSED);
      return { out, err, status: said };
    }

    test('Exec: streams apart, Success, an exit code', async () => {
      const good = await run(['sh', '-c', 'head -c 1000000 /dev/zero; echo err >&2']);
      assert.equal(good.out.bytes, 1_000_000);
      assert.equal(good.err, 'err\n');
      assert.equal(good.status.status, 'Success');
      const bad = await run(['sh', '-c', 'exit 3']);
      assert.equal(bad.status.status, 'Failure');
      assert.equal(bad.status.reason, 'NonZeroExitCode');
      assert.deepEqual(bad.status.details?.causes, [{ reason: 'ExitCode', message: '3' }]);
    });

    test('Exec: 16 MiB in and out again, every byte; the end of input is seen', async () => {
      const { out, status } = await run(['cat'], Readable.from(randomBlocks(16 * MIB)));
      assert.deepEqual(out, { bytes: 16 * MIB, sha256: randomSha256(16 * MIB) });
      assert.equal(status.status, 'Success');
    });

    test('Attach: input, output, errors, the end', async () => {
      const script = 'while read -r line; do echo "got $line"; echo "err $line" >&2; done; echo over';
      await api.cluster.run(`attach-${way}`, script, { stdin: true, stdinOnce: true });
      const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
      const [out, err] = [text(stdout), text(stderr)];
      const socket = await new Attach(config).attach('default', `attach-${way}`, 'main', stdout, stderr, stdin, false);
      stdin.write('one\n');
      stdin.end('two\n');
      await eventually('the connection is closed', () => socket.readyState === socket.CLOSED);
      assert.equal(await out, 'got one\ngot two\nover\n');
      assert.equal(await err, 'err one\nerr two\n');
    });

    test('Cp: a tree there and back', async () => {
      const tree = join(daemon.dir, `tree-${way}`);
      for (let i = 0; i < 20; i += 1) {
        mkdirSync(join(tree, `folder ${i}`), { recursive: true });
        for (let j = 0; j < 10; j += 1) writeFileSync(join(tree, `folder ${i}`, `file-${j}`), `${i} ${j}\n`.repeat(i * j));
      }
      await randomFile(join(tree, 'large'), 8 * MIB);
      const cp = new Cp(config);
      assert.equal((await run(['mkdir', `/copies/${way}`])).status.status, 'Success');
      await cp.cpToPod('default', 'box', 'main', tree, `/copies/${way}`);
      // It does not say when it is done.
      await eventually('all of it is there', async () => {
        const { out } = await run([
          'sh',
          '-c',
          `cd /copies/${way} && find . -type f | wc -l | grep -qx 201 && [ $(wc -c < large) = ${8 * MIB} ] && echo`,
        ]);
        return out.bytes === 1;
      });
      const target = join(daemon.dir, `back-${way}`);
      await cp.cpFromPod('default', 'box', 'main', '.', target, `/copies/${way}`);
      const expected = sumOfTree(tree);
      await eventually('all of it is back', () => {
        try {
          return isDeepStrictEqual(sumOfTree(target), expected);
        } catch {
          return false;
        }
      });
    });

    test('PortForward: 4 MiB to an echo and back', async () => {
      const output = new PassThrough();
      const errors = new PassThrough();
      const input = new PassThrough();
      let bytes = 0;
      const pieces: Buffer[] = [];
      output.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        pieces.push(chunk);
      });
      const socket = await new PortForward(config).portForward('default', 'box', [PORTS.echo], output, errors, input);
      assert.ok(typeof socket !== 'function');
      for (const block of randomBlocks(4 * MIB)) input.write(block);
      await eventually('all of it is back', () => bytes >= 4 * MIB);
      socket.close();
      const sum = await sumOf(Readable.from(pieces));
      assert.deepEqual(sum, { bytes: 4 * MIB, sha256: randomSha256(4 * MIB) });
      await eventually('the connection is closed', () => socket.readyState === socket.CLOSED);
    });
  });
}
