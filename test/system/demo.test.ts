/** The demo cleans up after itself, whatever ends it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { collect } from '../src/crictl.ts';
import { leftovers } from '../src/leftovers.ts';
import { eventually } from '../src/processes.ts';

const DEMO = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));

/** Collects what a demo prints; `folder` is that of its daemon, once it is known. */
function watch(child: ChildProcess): { readonly text: () => string } {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { text: () => text };
}

async function nothingLeft(folder: string): Promise<void> {
  await eventually(
    () => `nothing is left of ${folder}: ${leftovers(folder).join(', ')}`,
    () => !existsSync(folder) && leftovers(folder).length === 0,
  );
}

for (const [signal, afterMs] of [
  ['SIGTERM', 0],
  ['SIGINT', 60],
  ['SIGHUP', 250],
] as const) {
  test(`without a terminal, ended by ${signal}: status 1 and nothing left`, async () => {
    const child = spawn(process.execPath, [DEMO], { stdio: ['ignore', 'pipe', 'pipe'] });
    const { text } = watch(child);
    const done = collect(child);
    const folder = await eventually('its daemon', () => /socket=(\/tmp\/berth-\w+)/.exec(text())?.[1]);
    await sleep(afterMs);
    child.kill(signal);
    const { code, stdout, stderr } = await done;
    assert.equal(code, 1, stderr);
    assert.match(stdout, /the demo FAILED/);
    assert.match(stderr, new RegExp(`interrupted by ${signal}`));
    await nothingLeft(folder);
  });
}

test('a daemon that Ctrl-C caught before it had a session of its own is replaced', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'bt-demo-'));
  t.after(() => rmSync(dir, { recursive: true }));
  // The launcher asks `readlink` where it is: the first to do so gets the signal in that moment.
  const script = '#!/bin/sh\n[ -e "$0.done" ] || { : >"$0.done"; kill -INT "$PPID"; }\nexec /usr/bin/readlink "$@"\n';
  writeFileSync(join(dir, 'readlink'), script, { mode: 0o755 });
  const env = { ...process.env, PATH: `${dir}:${process.env['PATH']}` };
  const { code, stdout, stderr } = await collect(spawn(process.execPath, [DEMO], { stdio: ['ignore', 'pipe', 'pipe'], env }));
  assert.ok(existsSync(join(dir, 'readlink.done')));
  assert.equal(code, 0, stderr);
  assert.match(stdout, /all as expected; nothing is left behind/);
});

test('at a terminal, Ctrl-C before there is a shell: it ends at once, and nothing is left', async () => {
  const before = new Set(globSync('/tmp/berth-??????'));
  const child = spawn('script', ['-qefc', `${process.execPath} ${DEMO}`, '/dev/null'], { stdio: 'pipe' });
  const { text } = watch(child);
  const done = collect(child);
  const folder = await eventually('its folder', () =>
    globSync('/tmp/berth-??????/logs').find((path) => !before.has(dirname(path))),
  );
  child.stdin?.write('\x03');
  assert.equal((await done).code, 1);
  assert.match(text(), /Ended by SIGINT; cleaning up/);
  await nothingLeft(dirname(folder));
});

test('at a terminal that goes away: nothing left', async () => {
  const child = spawn('script', ['-qefc', `${process.execPath} ${DEMO}`, '/dev/null'], { stdio: 'pipe' });
  const { text } = watch(child);
  const done = collect(child);
  await eventually('a prompt', () => text().includes('/ # '));
  child.stdin?.write('grep -o "/tmp/berth-[A-Za-z0-9]*" /proc/self/mountinfo | head -n 1\n');
  const folder = await eventually('its folder', () => /^\/tmp\/berth-\w+(?=\r$)/m.exec(text())?.[0]);
  child.kill('SIGKILL');
  await done;
  await nothingLeft(folder);
});
