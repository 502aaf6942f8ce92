/** A daemon as a child process: its log goes to a file, it is asked to stop and then made to. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** A daemon with a thousand sessions takes a while to say goodbye to all of them. */
const STOP_MS = 20_000;
const POLL_MS = 20;
/** How much of a daemon's log goes into an error message. */
const LOG_TAIL_BYTES = 2_000;

export class Child implements AsyncDisposable {
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #log: string;

  /** @throws Error when the program cannot be executed */
  constructor(program: string, args: readonly string[], log: string) {
    const fd = openSync(log, 'a');
    // An own session: ctrl-c is the benchmark's, which then stops its daemons in order.
    this.#process = spawn(program, args, { stdio: ['ignore', fd, fd], detached: true });
    closeSync(fd);
    this.#process.on('error', () => {});
    if (this.#process.pid === undefined) throw new Error(`${program} could not be started`);
    this.pid = this.#process.pid;
    this.#log = log;
  }

  /** Waits until `ready` says yes. @throws Error with the end of the log when the daemon ends or takes too long */
  async until(ready: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; ; ) {
      if (await ready().catch(() => false)) return;
      if (!this.#running || performance.now() > deadline) {
        const log = (await readFile(this.#log, 'utf8')).slice(-LOG_TAIL_BYTES);
        throw new Error(`${this.#process.spawnfile} ${this.#running ? 'is not ready' : 'has ended'}; its log ends with:\n${log}`);
      }
      await sleep(POLL_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#running) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timer);
  }

  get #running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }
}
