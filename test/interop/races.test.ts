/** A thousand attaches that race the exit of their containers, and a thousand short commands, over WebSocket and SPDY. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodeOf, type WireStatus } from '@berth/attach-protocol';
import { RpcError } from '@berth/client';
import { AttachClient } from '../src/attach.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { spdySession } from '../src/spdy-session.ts';
import { daemonWithPod } from '../src/suite.ts';

const CONTAINERS = 100;
/** Of each container: half of them with a ticket from before its end, half of them later; half over each transport. */
const ATTACHES_EACH = 10;
const CONTAINERS_AT_ONCE = 5;
/** About how long a container takes from `go` to its end: attaches are spread over it and a bit more. */
const RACE_MS = 40;
const COMMANDS = 1_000;
const COMMANDS_AT_ONCE = 8;

type Outcome = { readonly stdout: string; readonly status: WireStatus | undefined };

const { daemon, pod } = await daemonWithPod();

/** Opens a URL and stays to the end; fails on anything but a clean one. */
async function session(url: string, overSpdy: boolean): Promise<Outcome> {
  if (overSpdy) {
    const { stdout, stderr, status, ends } = await spdySession(url);
    assert.equal(stderr, '');
    assert.deepEqual(ends, ['fin', 'fin', 'fin']);
    return { stdout, status };
  }
  using client = await AttachClient.open(url);
  await client.ended();
  assert.deepEqual(client.faults, []);
  assert.deepEqual(client.closed, { code: 1000, reason: '' });
  assert.equal(client.stderr.bytes, 0);
  return { stdout: client.stdout.text(), status: client.status };
}

/** Runs all of them, so many at once. */
async function inParallel(count: number, atOnce: number, each: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await each(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function race(container: TestContainer): Promise<{ readonly refused: number; readonly seen: number }> {
  const tickets = await Promise.all(
    Array.from({ length: ATTACHES_EACH / 2 }, async () => await container.attachUrl({ stdin: false })),
  );
  using writer = await AttachClient.open(await container.attachUrl());
  const early = tickets.map(async (url, i) => {
    await sleep(Math.random() * RACE_MS);
    return await session(url, i % 2 === 0);
  });
  const late = tickets.map(async (_, i) => {
    await sleep(Math.random() * RACE_MS);
    try {
      return await session(await container.attachUrl({ stdin: false }), i % 2 === 1);
    } catch (error) {
      if (error instanceof RpcError && error.code === 'CONTAINER_NOT_RUNNING') return undefined;
      throw error;
    }
  });
  await writer.send('go\n');
  await writer.ended();
  assert.equal(writer.stdout.text(), 'x\n');
  for (const { stdout, status } of await Promise.all(early)) {
    assert.equal(stdout, 'x\n', 'a ticket from before the output sees it, once');
    assert.equal(status?.status, 'Success');
  }
  const latecomers = await Promise.all(late);
  for (const outcome of latecomers) {
    if (outcome === undefined) continue;
    assert.match(outcome.stdout, /^(x\n)?$/);
    assert.equal(outcome.status?.status, 'Success');
  }
  assert.equal((await container.exited()).exitCode, 3);
  const refused = latecomers.filter((outcome) => outcome === undefined).length;
  return { refused, seen: latecomers.filter((outcome) => outcome?.stdout === 'x\n').length };
}

test(`${CONTAINERS * ATTACHES_EACH} attaches race the exit: output once, a status each, no hang`, async () => {
  const total = { refused: 0, seen: 0 };
  await inParallel(CONTAINERS, CONTAINERS_AT_ONCE, async () => {
    const container = await runContainer(daemon, pod, 'read go; echo x; exit 3', { stdin: true });
    const { refused, seen } = await race(container);
    total.refused += refused;
    total.seen += seen;
    await daemon.client.runtime.removeContainer({ containerId: container.id });
  });
  // Otherwise this was no race.
  assert.ok(total.refused > 0 && total.seen > 0, JSON.stringify(total));
});

test(`${COMMANDS} times echo x; exit 3: output once, the exit code, no hang`, async () => {
  const { id: containerId } = await runContainer(daemon, pod, 'exec sleep 100000');
  await inParallel(COMMANDS, COMMANDS_AT_ONCE, async (index) => {
    const cmd = ['sh', '-c', 'echo x; exit 3'];
    const { url } = await daemon.client.runtime.exec({ containerId, cmd, stdout: true, stderr: true });
    const { stdout, status } = await session(url, index % 2 === 0);
    assert.equal(stdout, 'x\n');
    assert.equal(status === undefined ? undefined : exitCodeOf(status, 'exec'), 3);
  });
});
