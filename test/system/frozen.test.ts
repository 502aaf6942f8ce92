/** Containers that somebody freezes from outside by their cgroup: refused with what to do, and as good as new once they are thawed. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RpcError } from '@berth/client';
import { ContainerState } from '@berth/cri-api';
import { AttachClient } from '../src/attach.ts';
import { UNIFIED } from '../src/cgroups.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { daemonWithPod } from '../src/suite.ts';

/** A call that hangs is a failure: none of these may wait for the thaw, ms. */
const AT_ONCE_MS = 10_000;

const { daemon, pod } = await daemonWithPod();

/** How a hierarchy freezes: its file, what is written, and what says that it is done. */
const FREEZERS = [
  {
    name: 'cgroup v1',
    base: '/sys/fs/cgroup/freezer',
    file: 'freezer.state',
    freeze: 'FROZEN',
    thaw: 'THAWED',
    sign: 'freezer.state',
    is: /^FROZEN$/m,
  },
  {
    name: "the unified hierarchy's own",
    base: UNIFIED ? '/sys/fs/cgroup' : '/sys/fs/cgroup/unified',
    file: 'cgroup.freeze',
    freeze: '1',
    thaw: '0',
    sign: 'cgroup.events',
    is: /^frozen 1$/m,
  },
] as const;

const paused = (at: string) => (error: unknown) => {
  assert.ok(error instanceof RpcError, String(error));
  assert.deepEqual([error.status, error.code], ['FAILED_PRECONDITION', 'CONTAINER_PAUSED']);
  assert.match(error.message, /is not running: paused/);
  assert.ok(error.message.includes(`frozen ${at} `), error.message);
  assert.match(error.message, /thaw it/);
  return true;
};

async function verboseInfo({ id }: TestContainer): Promise<Record<string, unknown>> {
  const { info } = await daemon.client.runtime.containerStatus({ containerId: id, verbose: true });
  return JSON.parse(info['info'] ?? '{}') as Record<string, unknown>;
}

for (const { name, base, file, freeze, thaw, sign, is } of FREEZERS) {
  for (const above of [false, true])
    test(`frozen by ${name} freezer${above ? ', through the cgroup of its pod' : ''}: refused, then thawed and attached`, async (t) => {
      if (!existsSync(base)) return t.skip(`this host has no ${base}`);
      const container = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });
      const own = `${base}/${basename(daemon.dir)}/${pod.id}/${container.id}`;
      const target = above ? `${base}/${basename(daemon.dir)}/${pod.id}` : own;
      using before = await AttachClient.open(await container.attachUrl());
      await before.send('first\n');
      await before.sees(/got first\n/);
      const execUrl = async (): Promise<string> =>
        (await daemon.client.runtime.exec({ containerId: container.id, cmd: ['echo', 'from exec'], stdout: true, stderr: true }))
          .url;
      const execSync = async (cmd: string[]) =>
        await daemon.client.runtime.execSync({ containerId: container.id, cmd, timeout: 60n });
      const early = await execUrl();

      writeFileSync(`${target}/${file}`, freeze);
      try {
        await eventually('it is frozen', () => is.test(readFileSync(`${own}/${sign}`, 'utf8')));
        const began = performance.now();
        await assert.rejects(container.attachUrl(), paused(own));
        await assert.rejects(execUrl(), paused(own));
        await assert.rejects(execSync(['true']), paused(own));
        using program = await AttachClient.open(early);
        const status = await program.ended();
        assert.equal(status?.status, 'Failure');
        assert.match(status?.message ?? '', /is not running: paused.*thaw it/);
        assert.ok(performance.now() - began < AT_ONCE_MS, 'nothing waits');
        assert.equal((await container.status()).state, ContainerState.CONTAINER_RUNNING);
        assert.equal((await verboseInfo(container))['frozenAt'], own);
        // Who was there before stays.
        await before.send('second\n');
        await sleep(300);
        assert.equal(before.stdout.text(), 'got first\n');
        assert.equal(before.closed, undefined);
      } finally {
        writeFileSync(`${target}/${file}`, thaw);
      }
      await before.sees(/^got first\ngot second\n$/);
      assert.equal((await verboseInfo(container))['frozenAt'], undefined);
      assert.equal(Buffer.from((await execSync(['echo', 'sync'])).stdout).toString(), 'sync\n');
      using program = await AttachClient.open(await execUrl());
      await program.ended();
      assert.equal(program.stdout.text(), 'from exec\n');
      using again = await AttachClient.open(await container.attachUrl());
      await again.send('third\n');
      await again.sees(/^got third\n$/);

      // Stopped while it is frozen.
      writeFileSync(`${own}/${file}`, freeze);
      await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 1n });
      assert.equal((await container.status()).state, ContainerState.CONTAINER_EXITED);
      await assert.rejects(container.attachUrl(), /is not running: exited with code 137/);
    });
}
