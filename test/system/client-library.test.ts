/** The client library's page: its examples, as they are pasted, against a daemon. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { exec, SessionFailed } from '@berth/client';
import { collect } from '../src/crictl.ts';
import { TestDaemon } from '../src/daemon.ts';
import { runContainer, runPod } from '../src/pods.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

test("the page's examples are one program that works", async () => {
  await using daemon = await TestDaemon.start();
  const page = readFileSync(`${ROOT}/docs/client.md`, 'utf8');
  let program = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, block]) => block).join('\n');
  for (const [place, own] of [
    ['/run/berth/berth.sock', daemon.socket],
    ['/var/log/berth-example', daemon.logs],
  ] as const) {
    assert.equal(program.split(place).length, 2, `${place} stands there once`);
    program = program.replace(place, own);
  }
  const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '-'], { cwd: ROOT });
  child.stdin.end(program);
  const { code, stdout, stderr } = await collect(child);
  assert.equal(code, 0, stderr);
  const lines = stdout.split('\n').filter((line) => line !== '');
  // What was written just before the detach may have arrived.
  assert.deepEqual(
    lines.filter((line) => line !== 'got hello'),
    ['to the program', 'exec: 7', 'execSync: 0 Linux', 'detached', 'ready', 'got last line', 'container: 3 Error'],
  );
});

test('exec: what ends by itself, by a signal, by its client, and what cannot start', async () => {
  await using daemon = await TestDaemon.start();
  const { client } = daemon;
  const { id } = await runContainer(daemon, await runPod(daemon), 'sleep 1000');
  for (const [script, exitCode] of [
    ['exit 0', 0],
    ['exit 255', 255],
    ['kill -9 $$', 137],
  ] as const) {
    const session = await exec(client, id, { cmd: ['sh', '-c', script] });
    session.stdout.resume();
    assert.deepEqual(await session.ended, { kind: 'exited', exitCode });
  }
  const left = await exec(client, id, { cmd: ['sleep', '1000'], stdin: true });
  left.detach();
  assert.deepEqual(await left.ended, { kind: 'detached' });
  const failed = await exec(client, id, { cmd: ['/nowhere'] });
  await assert.rejects(failed.ended, (error) => error instanceof SessionFailed && /nowhere/.test(error.message));
});
