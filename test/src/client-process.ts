/** Starts counting clients as processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { eventually } from './processes.ts';

const PROGRAM = fileURLToPath(new URL('counting-client.ts', import.meta.url));

export type Counted = {
  readonly bytes: number;
  readonly sha256: string;
  readonly status?: 'Success' | 'Failure';
  readonly code: number;
  readonly faults: readonly string[];
};

/** A client that a test can send signals to. */
export class ClientProcess implements AsyncDisposable {
  readonly process: ChildProcess;
  #output = '';

  private constructor(child: ChildProcess) {
    this.process = child;
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#output += chunk;
    });
  }

  /** Resolves when it is attached. */
  static async start(url: string, bytesPerSecond?: number): Promise<ClientProcess> {
    const args = ['--conditions=source', PROGRAM, url, ...(bytesPerSecond === undefined ? [] : [String(bytesPerSecond)])];
    const client = new ClientProcess(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
    await eventually('a client process is attached', () => {
      if (client.process.exitCode !== null) throw new Error('a client process ended before it was attached');
      return client.#output.startsWith('open\n');
    });
    return client;
  }

  /** Waits for its end; gives what it has counted. */
  async result(timeoutMs = 180_000): Promise<Counted> {
    await eventually('a client process ends', () => this.process.exitCode !== null, timeoutMs);
    return JSON.parse(this.#output.split('\n')[1] ?? '') as Counted;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
  }
}
