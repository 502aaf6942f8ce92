/** Real kubectls attach through an API server: pipes, terminals, detaching, every way that their streams have to the daemon. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../src/api-server/api-server.ts';
import { TestDaemon } from '../src/daemon.ts';
import { Kubectl, legs } from '../src/kubectl.ts';

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

for (const [number, leg] of legs().entries()) {
  describe(leg.name, () => {
    let kubectl: Kubectl;
    before(() => (kubectl = new Kubectl(leg, api, daemon.dir)));

    test('attach -i to a stdin_once container: lines go in, answers come out, the end of input is its end', async () => {
      const name = `pipe-${number}`;
      await api.cluster.run(name, 'while read -r line; do echo "got $line"; done; echo over; echo err >&2', {
        stdin: true,
        stdinOnce: true,
      });
      const { code, stdout, stderr } = await kubectl.run(['attach', '-i', name, '-c', 'main', '-q'], 'one\ntwo\n');
      assert.equal(code, 0, stderr);
      assert.equal(stdout, 'got one\ngot two\nover\n');
      assert.equal(stderr, 'err\n');
    });
  });
}
