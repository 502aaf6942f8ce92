/** Real kubectls forward ports of a pod with a network of its own: SPDY, the WebSocket tunnel raw and translated. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../src/api-server/api-server.ts';
import { TestDaemon } from '../src/daemon.ts';
import { checkForwards, FORWARDED, interrupt, localPorts, SERVE, served } from '../src/forwards.ts';
import { checkLeg, Kubectl, legs } from '../src/kubectl.ts';
import { PodServer, PORTS } from '../src/port-forward.ts';
import { eventually } from '../src/processes.ts';
import { comesToNothing } from '../src/tcp.ts';

let daemon: TestDaemon;
let api: ApiServer;
/** SHA-256 of the large file that the pod serves. */
let large: string;
let server: PodServer;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
  const pod = await api.cluster.run('web', SERVE);
  server = await PodServer.start(daemon, pod.sandboxId);
  large = await served(pod.instance().logFile);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

for (const leg of legs()) {
  describe(leg.name, () => {
    after(() => checkLeg(api, leg));

    test('many connections, half-closes, IPv4 and IPv6, 64 MiB', async () => {
      const kubectl = new Kubectl(leg, api, daemon.dir);
      const child = kubectl.spawn(['port-forward', '--address=127.0.0.1', 'pod/web', ...FORWARDED.map((port) => `:${port}`)]);
      let text = '';
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
      try {
        await checkForwards(await localPorts(child, () => text), large);
        assert.equal(text.match(/error|lost/i), null, text);
      } finally {
        await interrupt(child);
      }
    });

    test('a port where nobody listens: refused, and said', async () => {
      const kubectl = new Kubectl(leg, api, daemon.dir);
      const child = kubectl.spawn(['port-forward', '--address=127.0.0.1', 'pod/web', `:${PORTS.nobody}`]);
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
