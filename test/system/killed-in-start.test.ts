/** The daemon is killed while LXC works on a start: the start goes on without it, and the daemons after it wait for what comes of it. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '@berth/cri-api';
import { TestDaemon } from '../src/daemon.ts';
import { createContainer, runPod, type TestContainer } from '../src/pods.ts';
import { eventually, listProcesses } from '../src/processes.ts';

/** Longer than a shim that is not there is waited for. */
const LONG_AFTER_MS = 4_000;

/** An lxc-start that does nothing while its gate is shut. */
class SlowLxc implements Disposable {
  readonly #dir = mkdtempSync('/tmp/bt-lxc-');
  readonly #program = join(this.#dir, 'lxc-start');
  readonly #gate = join(this.#dir, 'gate');

  constructor() {
    const wait = `[ "$1" = --version ] || while [ ! -e ${this.#gate} ]; do sleep 0.05; done`;
    writeFileSync(this.#program, `#!/bin/sh\n${wait}\nexec /usr/bin/lxc-start "$@"\n`, { mode: 0o755 });
  }

  get settings(): string {
    return `lxc_start = "${this.#program}"`;
  }

  get working(): boolean {
    return listProcesses().some(({ command }) => command.includes(`${this.#program} -F`));
  }

  open(): void {
    if (!existsSync(this.#gate)) writeFileSync(this.#gate, '');
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true });
  }
}

/** A daemon that was killed in the start of this container, and comes back twice, for longer than it waits for a shim that is not there. */
async function killedInStart(daemon: TestDaemon, lxc: SlowLxc): Promise<TestContainer> {
  const container = await createContainer(daemon, await runPod(daemon), 'trap "exit 0" TERM; sleep 1000 & wait');
  const starting = assert.rejects(container.start());
  await eventually('lxc-start works', () => lxc.working);
  for (let kill = 0; kill < 2; kill += 1) {
    await daemon.kill();
    await daemon.start();
    assert.equal((await container.status()).state, ContainerState.CONTAINER_CREATED);
  }
  await starting;
  await sleep(LONG_AFTER_MS);
  assert.equal((await container.status()).state, ContainerState.CONTAINER_CREATED);
  return container;
}

test('a container that comes up long after its daemon was killed is the next one’s, and outlives its restarts', async () => {
  using lxc = new SlowLxc();
  await using daemon = await TestDaemon.start({ settings: lxc.settings });
  const container = await killedInStart(daemon, lxc);
  lxc.open();
  const status = await eventually('it runs', async () => {
    const now = await container.status();
    return now.state === ContainerState.CONTAINER_RUNNING ? now : undefined;
  });
  const pids = await container.pids();
  assert.ok(pids.init > 1 && status.startedAt >= status.createdAt, `init ${pids.init}, started at ${status.startedAt}`);
  for (const end of [async () => await daemon.stop(), async () => await daemon.kill()]) {
    await end();
    await daemon.start();
    assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
    assert.deepEqual(await container.pids(), pids);
  }
  await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 60n });
  assert.equal((await container.status()).exitCode, 0);
});

test('a start whose shim has gone meanwhile is shown as failed at once, and nothing comes up later', async () => {
  using lxc = new SlowLxc();
  await using daemon = await TestDaemon.start({ settings: lxc.settings });
  const container = await killedInStart(daemon, lxc);
  for (const shim of daemon.shimPids()) process.kill(shim, 'SIGKILL');
  const { exitCode, reason } = await container.exited();
  assert.deepEqual([exitCode, reason], [128, 'StartError']);
  assert.equal(lxc.working, false);
  lxc.open();
});
