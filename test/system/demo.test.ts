/** The demo cleans up after itself, whatever ends it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test, type TestContext } from 'node:test';
import { collect } from '../src/crictl.ts';
import { leftovers } from '../src/leftovers.ts';
import { eventually } from '../src/processes.ts';
import { atTerminal } from '../src/terminal.ts';

const DEMO = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));

/** Collects what a demo prints. */
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

/** Stands before the `readlink` that the daemon's launcher asks where it is: whatever moment of the demo is meant, it waits there. */
class Launches {
  readonly #tool: string;
  readonly env: NodeJS.ProcessEnv;

  /** `command` runs at every launch: shell, in which `$0` is the tool's path. */
  constructor(t: TestContext, command: string) {
    const dir = mkdtempSync(join(tmpdir(), 'bt-demo-'));
    t.after(() => rmSync(dir, { recursive: true }));
    this.#tool = join(dir, 'readlink');
    writeFileSync(this.#tool, `#!/bin/sh\n${command}\nexec /usr/bin/readlink "$@"\n`, { mode: 0o755 });
    this.env = { ...process.env, PATH: `${dir}:${process.env['PATH']}` };
  }

  /** The launch with this number, from 1 on, waits for `go`. */
  static holding(t: TestContext, number: number): Launches {
    const count = 'echo >>"$0.count"; [ "$(wc -l <"$0.count")" -eq';
    return new Launches(t, `${count} ${number} ] && { : >"$0.done"; while [ -e "$0" ] && [ ! -e "$0.go" ]; do sleep 0.01; done; }`);
  }

  /** Whether `command` has left its mark, or the held launch waits. */
  get done(): boolean {
    return existsSync(`${this.#tool}.done`);
  }

  go(): void {
    writeFileSync(`${this.#tool}.go`, '');
  }
}

/** The folder of a demo that was started after the others. */
function newFolder(before: readonly string[]): string {
  return globSync('/tmp/berth-??????').find((path) => !before.includes(path)) ?? assert.fail('the demo has no folder');
}

for (const [signal, launch] of [
  ['SIGTERM', 1],
  ['SIGINT', 2],
  ['SIGHUP', 2],
] as const) {
  test(`without a terminal, ended by ${signal} at its daemon's start number ${launch}: status 1 and nothing left`, async (t) => {
    const before = globSync('/tmp/berth-??????');
    const launches = Launches.holding(t, launch);
    const child = spawn(process.execPath, [DEMO], { stdio: ['ignore', 'pipe', 'pipe'], env: launches.env });
    t.after(() => child.kill('SIGTERM'));
    const { text } = watch(child);
    const done = collect(child);
    await eventually('its daemon', () => launches.done);
    const folder = newFolder(before);
    child.kill(signal);
    await eventually('its answer', () => text().includes(`${signal}: no further`));
    launches.go();
    const { code, stdout, stderr } = await done;
    assert.equal(code, 1, stderr);
    assert.match(stdout, /the demo FAILED/);
    assert.match(stderr, new RegExp(`interrupted by ${signal}`));
    await nothingLeft(folder);
  });
}

test('a daemon that Ctrl-C caught before it had a session of its own is replaced', async (t) => {
  const launches = new Launches(t, '[ -e "$0.done" ] || { : >"$0.done"; kill -INT "$PPID"; }');
  const { code, stdout, stderr } = await collect(
    spawn(process.execPath, [DEMO], { stdio: ['ignore', 'pipe', 'pipe'], env: launches.env }),
  );
  assert.ok(launches.done);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /all as expected; nothing is left behind/);
});

test('at a terminal, Ctrl-C before there is a shell: it ends at once, and nothing is left', async (t) => {
  const before = globSync('/tmp/berth-??????');
  const launches = Launches.holding(t, 1);
  const child = atTerminal(`exec ${process.execPath} ${DEMO}`, launches.env);
  // Its terminal goes with it.
  t.after(() => child.kill('SIGKILL'));
  const { text } = watch(child);
  const done = collect(child);
  await eventually('its daemon', () => launches.done);
  const folder = newFolder(before);
  child.stdin.write('\x03');
  // The terminal shows it once it has sent the signal.
  await eventually('Ctrl-C', () => text().includes('^C'));
  launches.go();
  assert.equal((await done).code, 1, text());
  assert.match(text(), /Ended by SIGINT; cleaning up/);
  await nothingLeft(folder);
});

test('at a terminal that goes away: nothing left', async () => {
  const child = atTerminal(`exec ${process.execPath} ${DEMO}`);
  const { text } = watch(child);
  const done = collect(child);
  await eventually('a prompt', () => text().includes('/ # '));
  child.stdin.write('grep -o "/tmp/berth-[A-Za-z0-9]*" /proc/self/mountinfo | head -n 1\n');
  const folder = await eventually('its folder', () => /^\/tmp\/berth-\w+(?=\r$)/m.exec(text())?.[0]);
  child.kill('SIGKILL');
  await done;
  await nothingLeft(folder);
});
