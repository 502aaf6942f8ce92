/** Exec between RPC and connection: the program starts when the client comes, and ends with it. */
import type { Logger } from 'pino';
import type { StdioConfig } from '../config/config.ts';
import type { Shim } from '../stdio/shim.ts';
import type { TerminalSize, Transport } from '../transport/transport.ts';
import { ExecSession } from './exec-session.ts';
import type { ConnectionInfo, ExecTicket, SessionEnd } from './handler.ts';

/** Runs a program in a container; `container/` supplies it. Rejects with a sentence for the client. */
export type RunProgram = (
  containerId: string,
  program: { readonly command: readonly string[]; readonly tty: boolean; readonly stdin: boolean; readonly size?: TerminalSize },
  signal: AbortSignal,
) => Promise<Shim>;

export class ExecService {
  readonly #run: RunProgram;
  readonly #config: StdioConfig;
  readonly #log: Logger;
  readonly #closing = new AbortController();

  constructor(run: RunProgram, config: StdioConfig, log: Logger) {
    this.#run = run;
    this.#config = config;
    this.#log = log;
  }

  /** Ends every session, and its program, with a Failure status that says that the daemon stops. */
  close(): void {
    this.#closing.abort();
  }

  async exec(ticket: ExecTicket, transport: Transport, info: ConnectionInfo): Promise<SessionEnd> {
    const { containerId, command, stdin, stdout, stderr, tty } = ticket;
    const log = this.#log.child({ container: containerId, remote: info.remoteAddress, protocol: transport.protocol });
    const options = { stdin, stdout, stderr: stderr && !tty, tty, signal: this.#closing.signal };
    const session = new ExecSession(transport, options, this.#config, log);
    return await session.run((size, signal) =>
      this.#run(containerId, { command, tty, stdin, ...(size === undefined ? {} : { size }) }, signal),
    );
  }
}
