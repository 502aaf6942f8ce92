/** Real kubectls forward ports of a pod with a network of its own: SPDY, the WebSocket tunnel raw and translated. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../src/api-server/api-server.ts';
import { TestDaemon } from '../src/daemon.ts';
import { checkForwards, CLOSED_PORT, interrupt, localPorts, PORTS, SERVE } from '../src/forwards.ts';
import { Kubectl, legs } from '../src/kubectl.ts';
import { eventually } from '../src/processes.ts';
import { comesToNothing } from '../src/tcp.ts';

let daemon: TestDaemon;
let api: ApiServer;
/** SHA-256 of the large file that the pod serves. */
let large: string;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
  const pod = await api.cluster.run('web', SERVE);
  large = await eventually('the pod serves', () => {
    const log = readFileSync(pod.instance().logFile, 'utf8');
    return log.includes(' ready\n') ? /([0-9a-f]{64}) /.exec(log)?.[1] : undefined;
  });
});

after(async () => {
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

for (const leg of legs()) {
  describe(leg.name, () => {
    test('many connections, half-closes, IPv4 and IPv6, 64 MiB', async () => {
      const kubectl = new Kubectl(leg, api, daemon.dir);
      const child = kubectl.spawn(['port-forward', '--address=127.0.0.1', 'pod/web', ...PORTS.map((port) => `:${port}`)]);
      let text = '';
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
      try {
        await checkForwards(await localPorts(child, () => text), large);
        assert.equal(text.match(/error|lost/i), null, text);
      } finally {
        await interrupt(child);
      }
      assert.deepEqual(api.faults.splice(0), []);
    });

    test('a port where nobody listens: refused, and said', async () => {
      const kubectl = new Kubectl(leg, api, daemon.dir);
      const child = kubectl.spawn(['port-forward', '--address=127.0.0.1', 'pod/web', `:${CLOSED_PORT}`]);
      let text = '';
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
      try {
        const port = await eventually('it forwards', () => /127\.0\.0\.1:(\d+) -> /.exec(text)?.[1]);
        await comesToNothing(Number(port));
        await eventually(
          () => `kubectl says so: ${text}`,
          () => /error.*forward.*refused/is.test(text),
        );
      } finally {
        await interrupt(child);
      }
    });
  });
}
