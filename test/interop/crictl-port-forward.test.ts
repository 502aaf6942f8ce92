/** The real crictl forwards ports of a pod with a network of its own, over SPDY and over the WebSocket tunnel. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { NamespaceMode } from '@berth/cri-api';
import { crictlProcess, TRANSPORTS } from '../src/crictl.ts';
import { TestDaemon } from '../src/daemon.ts';
import { checkForwards, FORWARDED, interrupt, localPorts, SERVE, served } from '../src/forwards.ts';
import { type Pod, runContainer, runPod } from '../src/pods.ts';
import { PodServer, PORTS } from '../src/port-forward.ts';
import { eventually } from '../src/processes.ts';
import { comesToNothing } from '../src/tcp.ts';

let daemon: TestDaemon;
let pod: Pod;
let large: string;
let server: PodServer;

before(async () => {
  daemon = await TestDaemon.start();
  pod = await runPod(daemon, 'web', NamespaceMode.POD);
  const container = await runContainer(daemon, pod, SERVE);
  server = await PodServer.start(daemon, pod.id);
  large = await served(container.logFile);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

for (const transport of TRANSPORTS) {
  describe(transport, () => {
    const forward = (...ports: readonly number[]) => {
      const child = crictlProcess(daemon, ['port-forward', '-r', transport, pod.id, ...ports.map((port) => `:${port}`)]);
      let text = '';
      for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (text += String(chunk)));
      return { child, text: () => text };
    };

    test('many connections, half-closes, IPv4 and IPv6, 64 MiB', async () => {
      const { child, text } = forward(...FORWARDED);
      try {
        await checkForwards(await localPorts(child, text), large);
      } finally {
        await interrupt(child);
      }
    });

    test('a port where nobody listens: refused, and said', async () => {
      const { child, text } = forward(PORTS.nobody);
      try {
        const port = await eventually('it forwards', () => /127\.0\.0\.1:(\d+) -> /.exec(text())?.[1]);
        await comesToNothing(Number(port));
        await eventually(
          () => `crictl says so: ${text()}`,
          () => /refused/i.test(text()),
        );
      } finally {
        await interrupt(child);
      }
      assert.doesNotMatch(text(), /panic/);
    });
  });
}
