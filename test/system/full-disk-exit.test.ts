/** The disk below the root folder is full: containers still end with their true status, when they are stopped and when nobody is there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ContainerState } from '@berth/cri-api';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';

const FILLER = 'filler';

/** Takes every byte that is left. */
function fill(folder: string): void {
  const fd = openSync(join(folder, FILLER), 'w');
  try {
    for (let piece = Buffer.alloc(65_536); piece.length > 0; ) {
      try {
        writeSync(fd, piece);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
        piece = piece.subarray(0, piece.length >> 1);
      }
    }
  } finally {
    closeSync(fd);
  }
}

test('the disk is full below the root folder: containers that are stopped, or end unseen, show their true status', async () => {
  await using daemon = TestDaemon.prepare();
  mkdirSync(daemon.root, { mode: 0o711 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=711', 'tmpfs', daemon.root]);
  try {
    await daemon.start();
    const pod = await runPod(daemon);
    const told = await runContainer(daemon, pod, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done");
    const unseen = await runContainer(daemon, pod, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    for (const { logFile } of [told, unseen])
      await eventually('its trap is set', () => readFileSync(logFile, 'utf8').includes('ready'));
    const unseenInit = (await unseen.pids()).init;
    fill(daemon.root);

    // A grace period that no loaded machine uses up: only the program itself ends it.
    await daemon.client.runtime.stopContainer({ containerId: told.id, timeout: 600n });
    const how = async (container: TestContainer) => {
      const { state, exitCode, reason } = await container.status();
      return { state, exitCode, reason };
    };
    const completed = { state: ContainerState.CONTAINER_EXITED, exitCode: 0, reason: 'Completed' };
    assert.deepEqual(await how(told), completed);
    assert.equal(existsSync(recordOf(daemon.root, told, 'containers')), false, 'the root folder took no record');
    assert.equal(existsSync(recordOf(daemon.state, told)), true);

    await daemon.kill();
    process.kill(unseenInit, 'SIGTERM');
    await eventually('its record', () => existsSync(recordOf(daemon.state, unseen)));
    // Its shim goes when it has nobody to tell.
    await eventually('the end of its shim', () => !existsSync(join(daemon.state, unseen.id, 'shim.sock')));
    // It is the daemon that can make room.
    await daemon.start();
    assert.deepEqual(await how(unseen), { state: ContainerState.CONTAINER_EXITED, exitCode: 7, reason: 'Error' });
    assert.deepEqual(await how(told), completed, 'what the daemon could not write down it finds again');
    rmSync(join(daemon.root, FILLER));
    await daemon.stop();
    await daemon.start();
    assert.deepEqual(await how(told), completed);

    await daemon.removeEverything();
    for (const container of [told, unseen]) assert.equal(existsSync(join(daemon.state, container.id)), false);
  } finally {
    // Where a check has failed there is something left, and maybe no daemon; nothing can be taken down on a full disk.
    rmSync(join(daemon.root, FILLER), { force: true });
    await daemon.stop();
    await daemon.start();
    await daemon.removeEverything();
    await daemon.stop();
    execFileSync('umount', ['-l', daemon.root]);
  }
});

const recordOf = (folder: string, { id }: TestContainer, ...below: string[]): string => join(folder, ...below, id, 'exit.json');
