/** Kubernetes' own JavaScript client connects to the URL that Attach returns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { WebSocketHandler } from '@kubernetes/client-node/dist/web-socket-handler.js';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

test('@kubernetes/client-node: input, output, errors, status, a clean close', async () => {
  await using daemon = await TestDaemon.start();
  const container = await runContainer(
    daemon,
    await runPod(daemon),
    'read a; echo "out $a"; echo "err $a" >&2; read b; echo "$b"',
    { stdin: true },
  );
  const url = new URL(await container.attachUrl());
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'berth', server: url.origin, skipTLSVerify: true }, { name: 'nobody' });

  const streams: Record<number, string> = {};
  const socket = await new WebSocketHandler(config).connect(url.pathname, null, (stream: number, data: Buffer): boolean => {
    streams[stream] = (streams[stream] ?? '') + data.toString();
    return true;
  });
  let closed: number | undefined;
  socket.on('close', (code: number) => {
    closed = code;
  });
  assert.equal(socket.protocol, 'v5.channel.k8s.io');
  socket.send(Buffer.from('\0hello\n'));
  await eventually('both streams', () => streams[1] === 'out hello\n' && streams[2] === 'err hello\n');
  socket.send(Buffer.from('\0bye\n'));
  await eventually('the close', () => closed !== undefined);
  assert.equal(streams[1], 'out hello\nbye\n');
  assert.equal((JSON.parse(streams[3] ?? '{}') as { status?: string }).status, 'Success');
  assert.equal(closed, 1000);
});
