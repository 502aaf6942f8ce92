/** A client as a process whose output a test looks at on the way, and that is gone when the test is over. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { collect, type Ran } from './crictl.ts';
import { eventually } from './processes.ts';

/** Between two ctrl-C: crictl swallows the first. */
const AGAIN_MS = 200;

export class Watched implements AsyncDisposable {
  readonly child: ChildProcess;
  /** What it has written to stdout and stderr so far. */
  out = '';
  err = '';
  readonly #ran: Promise<Ran>;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdin?.on('error', () => {});
    child.stdout?.on('data', (chunk) => (this.out += String(chunk)));
    child.stderr?.on('data', (chunk) => (this.err += String(chunk)));
    this.#ran = collect(child);
  }

  get isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  write(text: string): void {
    this.child.stdin?.write(text);
  }

  /** Waits until its stdout matches. */
  async sees(pattern: RegExp): Promise<void> {
    await eventually(
      () => `stdout matches ${pattern}: ${JSON.stringify(this.out.slice(-300))}; stderr: ${JSON.stringify(this.err.slice(-300))}`,
      () => {
        if (pattern.test(this.out)) return true;
        if (this.isOver) throw new Error(`it ended before ${pattern}: ${JSON.stringify([this.out, this.err])}`);
        return false;
      },
    );
  }

  /** Waits for its end. */
  async ran(timeoutMs = 60_000): Promise<Ran> {
    await eventually(
      () => `the client ends: ${JSON.stringify([this.out.slice(-300), this.err.slice(-300)])}`,
      () => this.isOver,
      timeoutMs,
    );
    return await this.#ran;
  }

  /** Ctrl-C, as often as it takes. */
  async interrupt(): Promise<Ran> {
    let last = 0;
    await eventually('ctrl-C ends the client', () => {
      if (!this.isOver && performance.now() - last > AGAIN_MS) {
        this.child.kill('SIGINT');
        last = performance.now();
      }
      return this.isOver;
    });
    return await this.#ran;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isOver) return;
    const gone = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await gone;
  }
}
