// Raw mode, sizes and keys on a real terminal, which util-linux' `script` makes; the daemon is a fake.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { test } from 'node:test';
import { CHANNEL } from '@berth/attach-protocol';
import { FakeDaemon, type FakeProgram } from '../../../client/src/testing/fake-daemon.ts';

const MAIN = new URL('../main.ts', import.meta.url).pathname;
const CTRL_P = '\x10';
const CTRL_Q = '\x11';

const PROGRAMS: Readonly<Record<string, FakeProgram>> = {
  shell: {
    message: (s, channel, payload) => {
      const text = Buffer.from(payload).toString();
      if (channel !== CHANNEL.stdin) return;
      if (text.includes('exit')) s.exit(7);
      else if (text.includes('drop')) s.socket.terminate();
      else s.send(CHANNEL.stdout, `<${text}>`);
    },
  },
};

/** `berth attach --…` on a terminal of 99 by 33, and what that terminal was like before, meanwhile and afterwards. */
class OnTerminal implements AsyncDisposable {
  readonly daemon: FakeDaemon;
  readonly #script: ReturnType<typeof spawn>;
  #shown = '';

  private constructor(daemon: FakeDaemon, environment: Readonly<Record<string, string>>) {
    this.daemon = daemon;
    const { dir } = daemon;
    this.#script = spawn('script', ['-qec', `exec sh ${join(dir, 'on-terminal')}`, '/dev/null'], {
      env: { ...process.env, SHELL: '/bin/sh', BERTH_SOCKET: daemon.socket, ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#script.stdout?.on('data', (chunk) => (this.#shown += String(chunk)));
  }

  static async attach(args = '', environment: Readonly<Record<string, string>> = {}, tty = true): Promise<OnTerminal> {
    const daemon = await FakeDaemon.start(PROGRAMS);
    const { dir } = daemon;
    daemon.makeRunning({ args: ['shell'], tty, stdin: true, metadata: { name: 'it' } });
    await writeFile(
      join(dir, 'on-terminal'),
      `cd ${dir}; stty rows 33 cols 99; tty > tty; stty -g > before
      ${process.execPath} --conditions=source ${MAIN} attach ${args} it < /dev/tty &
      echo $! > pid; wait $!; echo $? > code; stty -g > after`,
    );
    const it = new OnTerminal(daemon, environment);
    // The size is sent once the terminal is raw.
    await it.until(() => (tty ? daemon.received : daemon.sessions).length > 0);
    await it.until(() => existsSync(join(dir, 'pid')) && readFileSync(join(dir, 'pid'), 'utf8').endsWith('\n'));
    return it;
  }

  async until(what: () => boolean): Promise<void> {
    for (let i = 0; i < 2000 && !what(); i += 1) await sleep(10);
    assert.ok(what(), `never: ${what.toString()}; shown: ${JSON.stringify(this.#shown)}`);
  }

  get shown(): string {
    return this.#shown;
  }

  type(keys: string): void {
    this.#script.stdin?.write(keys, 'latin1');
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    process.kill(Number(await this.#read('pid')), signal);
  }

  async stty(...args: readonly string[]): Promise<string> {
    return (await promisify(execFile)('stty', ['-F', await this.#read('tty'), ...args])).stdout;
  }

  /** Waits for the end; the terminal must be as it was. Gives the exit status. */
  async ended(): Promise<number> {
    await once(this.#script, 'close');
    assert.equal(await this.#read('after'), await this.#read('before'), 'the terminal is not as it was');
    return Number(await this.#read('code'));
  }

  async #read(file: string): Promise<string> {
    return (await readFile(join(this.daemon.dir, file), 'utf8')).trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#script.kill();
    await this.daemon[Symbol.asyncDispose]();
  }
}

test('keys reach the container unchanged, the terminal is fully raw, and the detach keys leave the container running', async () => {
  await using it = await OnTerminal.attach();
  const modes = await it.stty('-a');
  for (const mode of ['-icanon', '-isig', '-echo ', '-ixon', '-icrnl', '-opost'])
    assert.ok(modes.includes(mode), `${mode} in ${modes}`);
  it.type('\x03\r');
  await it.until(() => it.shown.includes('<\x03\r>'));
  it.type(`${CTRL_P}z`);
  await it.until(() => it.shown.includes(`<${CTRL_P}z>`));
  it.type(CTRL_P);
  await sleep(100);
  it.type(CTRL_Q);
  assert.equal(await it.ended(), 0);
  assert.equal(it.daemon.container.state, 1);
  const typed = it.daemon.received.filter(({ channel }) => channel === CHANNEL.stdin).map(({ text }) => text);
  assert.equal(typed.join(''), `\x03\r${CTRL_P}z`);
});

test('the size comes before all input, and again when it changes', async () => {
  await using it = await OnTerminal.attach();
  it.type('x');
  await it.until(() => it.shown.includes('<x>'));
  await it.stty('rows', '40', 'cols', '120');
  // stty sets rows and columns one after the other.
  await it.until(() => it.daemon.received.at(-1)?.text === '{"Width":120,"Height":40}\n');
  assert.deepEqual(it.daemon.received.slice(0, 2), [
    { channel: CHANNEL.resize, text: '{"Width":99,"Height":33}\n' },
    { channel: CHANNEL.stdin, text: 'x' },
  ]);
  it.type('exit');
  assert.equal(await it.ended(), 7);
});

test('the terminal is given back when the connection is lost', async () => {
  await using it = await OnTerminal.attach();
  it.type('drop');
  assert.equal(await it.ended(), 125);
});

for (const [signal, status] of [
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGQUIT', 131],
] as const) {
  test(`the terminal is given back on ${signal}`, async () => {
    await using it = await OnTerminal.attach();
    await it.kill(signal);
    assert.equal(await it.ended(), status);
    assert.equal(it.daemon.container.state, 1);
  });
}

for (const [signal, status] of [
  ['SIGUSR2', 140],
  ['SIGALRM', 142],
  ['SIGABRT', 134],
] as const) {
  test(`the terminal is given back on ${signal}, which ends berth as it always would`, async () => {
    await using it = await OnTerminal.attach();
    await it.kill(signal);
    assert.equal(await it.ended(), status);
    assert.equal(it.daemon.container.state, 1);
  });
}

test('a container without a terminal: lines stay lines, and the detach keys leave it, though a terminal keeps ctrl-q for itself', async () => {
  await using it = await OnTerminal.attach('', {}, false);
  let modes = '';
  for (let i = 0; i < 500 && !modes.includes('-ixon'); i += 1) {
    modes = await it.stty('-a');
    await sleep(10);
  }
  assert.match(modes, /-ixon/);
  assert.doesNotMatch(modes, /-icanon|-isig|-echo /);
  it.type('a line\n');
  await it.until(() => it.shown.includes('<a line\r\n>'));
  it.type(`${CTRL_P}${CTRL_Q}`);
  assert.equal(await it.ended(), 0);
  assert.equal(it.daemon.container.state, 1);
});

test('the terminal is given back on an error nobody caught', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-throw-'));
  t.after(async () => await rm(dir, { recursive: true }));
  await writeFile(join(dir, 'throw.mjs'), "process.once('SIGUSR2', () => { throw new Error('planted'); });");
  await using it = await OnTerminal.attach('', { NODE_OPTIONS: `--import ${join(dir, 'throw.mjs')}` });
  await it.kill('SIGUSR2');
  assert.notEqual(await it.ended(), 0);
  assert.match(it.shown, /planted/);
});

test('stopped from outside and continued: the terminal is cooked meanwhile and raw again afterwards', async () => {
  await using it = await OnTerminal.attach();
  await it.kill('SIGTSTP');
  for (let i = 0; i < 500 && (await it.stty('-a')).includes('-icanon'); i += 1) await sleep(10);
  assert.doesNotMatch(await it.stty('-a'), /-icanon/);
  await it.kill('SIGCONT');
  for (let i = 0; i < 500 && !(await it.stty('-a')).includes('-icanon'); i += 1) await sleep(10);
  assert.match(await it.stty('-a'), /-icanon/);
  it.type('exit');
  assert.equal(await it.ended(), 7);
});

test('other detach keys', async () => {
  await using it = await OnTerminal.attach('--detach-keys ctrl-],q');
  it.type(`${CTRL_P}${CTRL_Q}`);
  await it.until(() => it.shown.includes(`<${CTRL_P}${CTRL_Q}>`));
  it.type('\x1dq');
  assert.equal(await it.ended(), 0);
});

test('a session that only watches leaves the terminal alone', async () => {
  await using it = await OnTerminal.attach('--no-stdin');
  assert.doesNotMatch(await it.stty('-a'), /-icanon|-isig/);
  await it.kill('SIGINT');
  assert.equal(await it.ended(), 130);
  assert.ok(it.daemon.received.every(({ channel }) => channel === CHANNEL.resize));
});
