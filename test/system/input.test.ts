/** Input that a container does not read yet: it arrives whole and in order, its end too, whatever becomes of the client and of the daemon. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { AttachClient } from '../src/attach.ts';
import { runContainer } from '../src/pods.ts';
import { daemonWithPod } from '../src/suite.ts';

const { daemon, pod } = await daemonWithPod();

/** Reads nothing until it is told to by a signal, then says what it has read. */
const deaf = (read: string): string => `trap 'go=1' USR1; echo deaf; while [ -z "$go" ]; do sleep 0.1; done; ${read} | sha256sum`;

for (const [bytes, ended] of [
  // More than a pipe holds and the daemon keeps: most of it waits in the shim.
  [300_000, true],
  // More than a pipe holds and the daemon keeps by itself: some, and the end, still waits for room when it is stopped.
  [180_000, true],
  // Just more than a pipe holds: the rest waits in the daemon when it is stopped.
  [120_000, false],
] as const) {
  const input = randomBytes(bytes);
  const what = ended ? 'input and its end survive' : 'input survives';
  test(`${bytes} bytes: ${what} a client that leaves and a daemon that is stopped, while the container reads nothing`, async () => {
    const container = await runContainer(daemon, pod, deaf(ended ? 'cat' : `head -c ${bytes}`), {
      stdin: true,
      stdinOnce: ended,
    });
    const { init } = await container.pids();
    const client = await AttachClient.open(await container.attachUrl(), { protocol: 'v5.channel.k8s.io', from: 'start' });
    await client.sees(/deaf/);
    await client.send(input);
    if (ended) client.closeStdin();
    // Its answer comes after everything before it has been read.
    await client.ping();
    client.close();
    await daemon.stop();
    await daemon.start();
    process.kill(init, 'SIGUSR1');
    assert.equal((await container.exited()).exitCode, 0);
    const hash = createHash('sha256').update(input).digest('hex');
    assert.match(readFileSync(container.logFile, 'utf8'), new RegExp(`stdout F ${hash} `));
  });
}
