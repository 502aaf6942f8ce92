/** One container's streams for those who attach: output hub, stdin and size behind one door, fed by the shim's events. */
import type { Logger } from 'pino';
import type { StdioConfig } from '../config/config.ts';
import { OutputHub } from './output-hub.ts';
import type { OutputStats } from './output-stats.ts';
import type { ExitRecord, Shim } from './shim.ts';
import { StdinArbiter } from './stdin-arbiter.ts';

export class ContainerStdio {
  readonly output: OutputHub;
  readonly stdin: StdinArbiter;
  readonly #shim: Shim;
  /** Sessions with stdin: while there is one, others do not set the size. */
  #typists = 0;
  #lossReported = 0;

  constructor(shim: Shim, logPath: string | undefined, config: StdioConfig, log: Logger, stats?: OutputStats) {
    this.#shim = shim;
    this.output = new OutputHub(shim.io, {
      logPath: shim.welcome.hasLog ? logPath : undefined,
      liveBufferBytes: config.liveBufferBytes,
      ringBytes: config.ringBytes,
      maxLagBytes: config.maxLagBytes,
      slow: config.slow,
      stallMs: config.stallMs,
      log,
      ...(stats === undefined ? {} : { stats }),
    });
    this.stdin = new StdinArbiter(shim.io);
    shim.io.listen({
      output: (stream, offset, data) => this.output.output(stream, offset, data),
      holds: (from, to) => this.output.holds(from, to),
      gap: (from, to) => this.output.gap(from, to),
      credit: () => this.stdin.credit(),
      stdinClosed: () => this.stdin.closed(),
      logLoss: (bytes) => {
        log.warn(
          { lostBytes: bytes, newlyLost: bytes - this.#lossReported },
          'the container log could not be written; output goes on',
        );
        this.#lossReported = bytes;
      },
      exit: (record: ExitRecord) => {
        this.stdin.closed();
        this.output.ended(record);
      },
      lost: (error) => {
        this.stdin.closed();
        this.output.supervisorLost(error);
      },
    });
  }

  /** Unread input: in the shim and in the container's pipe or terminal, bytes. */
  async unreadInput(): Promise<number> {
    const state = await this.#shim.io.stdinState();
    return state.queued + state.unread;
  }

  /** Sets the terminal's size; ignored when another session types and this one does not. */
  resize(columns: number, rows: number, types: boolean): void {
    if (!this.#shim.welcome.tty || (this.#typists > 0 && !types)) return;
    this.#shim.io.resize(columns, rows);
  }

  /** Registers a session that has stdin; call the result when it ends. */
  addTypist(): () => void {
    this.#typists += 1;
    let here = true;
    return () => {
      if (here) this.#typists -= 1;
      here = false;
    };
  }
}
