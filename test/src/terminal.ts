/** A program at a terminal of its own, by `script`: typed at, looked at, resized. */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { eventually, listProcesses } from './processes.ts';

/** What a shell word needs to stay as it is. */
const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/**
 * Starts a shell's command line at a terminal of its own, of no size yet. The shell is always the same one, whatever the
 * environment says: shells differ in whether the last command of a line takes their place, and one that stays is hit by Ctrl-C
 * as well. `exec` says what is wanted.
 */
export function atTerminal(line: string, env: NodeJS.ProcessEnv = process.env): ChildProcessWithoutNullStreams {
  return spawn('script', ['-qefc', line, '/dev/null'], { stdio: 'pipe', env: { ...env, SHELL: '/bin/sh' } });
}

export class Terminal implements AsyncDisposable {
  /** All that the screen got. */
  text = '';
  readonly #script: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<number>;

  /** Starts with 80 columns and 24 rows. */
  constructor(command: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    const line = `stty cols 80 rows 24; exec ${command.map(quoted).join(' ')}`;
    this.#script = atTerminal(line, env);
    this.#script.stdout.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    this.#script.stdin.on('error', () => {});
    this.#ended = once(this.#script, 'close').then(([code]) => Number(code));
  }

  type(keys: string): void {
    this.#script.stdin.write(Buffer.from(keys, 'latin1'));
  }

  async sees(pattern: RegExp, timeoutMs = 60_000): Promise<string> {
    return await eventually(
      () => `the screen matches ${pattern}; it is ${JSON.stringify(this.text.slice(-500))}`,
      () => {
        if (pattern.test(this.text)) return this.text;
        if (this.#script.exitCode !== null) throw new Error(`it ended before ${pattern}: ${JSON.stringify(this.text.slice(-500))}`);
        return undefined;
      },
      timeoutMs,
    );
  }

  /** Presses return until there is a prompt, as a person who looks at an empty screen. */
  async prompt(pattern = /[#$>] (\x1b\[6n)?$/): Promise<void> {
    await eventually(
      () => `a prompt; the screen is ${JSON.stringify(this.text.slice(-500))}`,
      () => {
        if (this.#script.exitCode !== null)
          throw new Error(`it ended without a prompt: ${JSON.stringify(this.text.slice(0, 1500))}`);
        this.type('\r');
        return pattern.test(this.text);
      },
    );
  }

  /** Asks the shell for its size until it is this one: kubectl sends another one first, and its input overtakes its sizes. */
  async hasSize(columns: number, rows: number): Promise<void> {
    await eventually(
      () => `${rows} ${columns}; the screen is ${JSON.stringify(this.text.slice(-500))}`,
      () => {
        this.type('stty size\r');
        return new RegExp(`^${rows} ${columns}\\r$`, 'm').test(this.text);
      },
    );
  }

  /** Changes the window's size, as a window system does. */
  resize(columns: number, rows: number): void {
    execFileSync('stty', ['-F', readlinkSync(`/proc/${this.pid}/fd/0`), 'cols', String(columns), 'rows', String(rows)]);
  }

  /** The program itself. */
  get pid(): number {
    const found = listProcesses().find(({ ppid }) => ppid === this.#script.pid);
    if (found === undefined) throw new Error('the program at the terminal has ended');
    return found.pid;
  }

  /** Waits for its end; gives its exit status. */
  async ended(timeoutMs = 60_000): Promise<number> {
    await eventually(
      () => `the program at the terminal ends; its screen: ${JSON.stringify(this.text.slice(-500))}`,
      () => this.#script.exitCode !== null,
      timeoutMs,
    );
    return await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#script.exitCode !== null || this.#script.signalCode !== null) return;
    // The terminal goes with it, and with that the program.
    this.#script.kill('SIGKILL');
    await once(this.#script, 'close').catch(() => undefined);
  }
}
