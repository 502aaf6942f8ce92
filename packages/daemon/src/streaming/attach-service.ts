/** Attach between RPC and connection: keeps output for a ticket, finds the container again when the client comes, runs the session. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { StdioConfig } from '../config/config.ts';
import { ContainerStdio } from '../stdio/container-stdio.ts';
import type { Claim } from '../stdio/output-hub.ts';
import { OutputStats } from '../stdio/output-stats.ts';
import { type Shim, ShimSilent } from '../stdio/shim.ts';
import type { Transport } from '../transport/transport.ts';
import { BerthError } from '../util/errors.ts';
import { notRunning } from '../util/not-running.ts';
import { type AttachOptions, serveAttach } from './attach-session.ts';
import type { AttachTicket, ConnectionInfo, SessionEnd } from './handler.ts';
import { failure } from './session-status.ts';

/** What attach needs to know of a container; `container/` supplies it. */
export type AttachTarget = {
  readonly id: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /** The running container's shim; absent when it does not run. */
  readonly shim?: Shim;
  /** Host path of its log. */
  readonly logPath?: string;
};

/** Which streams the RPC asked for. */
export type AttachRequest = { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean; readonly tty: boolean };

/** An exit that has been received is known at once; this only lets the promise's turn come. */
const SETTLE_MS = 10;

type Kept = { readonly stdio: ContainerStdio; readonly claim: Claim; readonly target: AttachTarget };

export class AttachService {
  /** What becomes of the output of all containers that are attached to. */
  readonly stats = new OutputStats();
  readonly #find: (id: string) => AttachTarget | undefined;
  readonly #config: StdioConfig;
  readonly #log: Logger;
  readonly #stdios = new WeakMap<Shim, ContainerStdio>();
  readonly #kept = new Map<symbol, Kept>();
  readonly #closing = new AbortController();

  constructor(find: (id: string) => AttachTarget | undefined, config: StdioConfig, log: Logger) {
    this.#find = find;
    this.#config = config;
    this.#log = log;
  }

  /**
   * Begins to keep a container's output for a session to come; what comes back is to be put into a ticket.
   * @throws BerthError `SHIM_LOST` when the container's shim is gone or does not answer; `CONTAINER_NOT_RUNNING` when the container has just ended
   */
  async prepare(target: AttachTarget, request: AttachRequest): Promise<AttachTicket> {
    const { shim } = target;
    // It runs, or the call would not have come to here; a connection that has broken is made again.
    if (shim === undefined) throw shimLost(target);
    const stdio = this.#stdio(shim, target);
    const claim = await stdio.output.claim().catch(async (error: unknown) => {
      // The shim of a container that has just ended is gone before the container's status says so.
      const exit = await Promise.race([shim.exit.catch(() => undefined), sleep(SETTLE_MS)]);
      throw exit === undefined ? shimLost(target, error) : notRunning(target.id, 'exited', exit.code);
    });
    const key = Symbol(target.id);
    this.#kept.set(key, { stdio, claim, target });
    return { method: 'attach', containerId: target.id, ...request, claim: key };
  }

  /** The container's log has been reopened. */
  async logReopened(shim: Shim): Promise<void> {
    await this.#stdios.get(shim)?.output.logReopened();
  }

  /** Ends every session with a Failure status that says that the daemon stops. */
  close(): void {
    this.#closing.abort();
  }

  drop(ticket: AttachTicket): void {
    const kept = this.#kept.get(ticket.claim);
    this.#kept.delete(ticket.claim);
    kept?.stdio.output.release(kept.claim);
  }

  async attach(ticket: AttachTicket, transport: Transport, info: ConnectionInfo): Promise<SessionEnd> {
    const kept = this.#kept.get(ticket.claim);
    this.#kept.delete(ticket.claim);
    const log = this.#log.child({ container: ticket.containerId, remote: info.remoteAddress, protocol: transport.protocol });
    if (kept === undefined || this.#find(ticket.containerId) === undefined) {
      kept?.stdio.output.release(kept.claim);
      return await refuse(transport, `container ${ticket.containerId} has been removed`);
    }
    const { tty, stdin, stdinOnce } = kept.target;
    const options: AttachOptions = {
      stdin: ticket.stdin,
      stdout: ticket.stdout,
      stderr: ticket.stderr && !tty,
      from: info.from,
      tty,
      stdinOnce: stdin && stdinOnce,
      exitCodeStatus: this.#config.exitCodeStatus,
      signal: this.#closing.signal,
      lagIs: (lag) => info.lagIs?.(lag),
    };
    return await serveAttach(kept.stdio, kept.claim, transport, options, log);
  }

  #stdio(shim: Shim, target: AttachTarget): ContainerStdio {
    let stdio = this.#stdios.get(shim);
    if (stdio === undefined) {
      stdio = new ContainerStdio(shim, target.logPath, this.#config, this.#log.child({ container: target.id }), this.stats);
      this.#stdios.set(shim, stdio);
    }
    return stdio;
  }
}

const shimLost = ({ id }: AttachTarget, cause?: unknown): BerthError => {
  const why = cause instanceof ShimSilent ? 'does not answer' : 'is gone';
  return new BerthError('unavailable', 'SHIM_LOST', `container ${id} cannot be attached: its supervisor ${why}`, { cause });
};

async function refuse(transport: Transport, message: string): Promise<SessionEnd> {
  const status = failure('InternalError', `Internal error occurred: error attaching to container: ${message}`);
  const ignore = (): void => undefined;
  transport.start({ stdin: ignore, stdinEof: ignore, resize: ignore, drain: ignore, closed: ignore });
  await transport.finish(status);
  return { status, cause: message };
}
