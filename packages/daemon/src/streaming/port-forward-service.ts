/** Port-forward between RPC and connection: finds the pod again when the client comes, holds the limits, runs the session. */
import type { PortForwardConfig } from '../config/config.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { SessionStatus } from '../transport/transport.ts';
import type { Log } from '../util/log.ts';
import type { ForwardTarget } from './forward-target.ts';
import type { ConnectionInfo, PortForwardTicket, SessionEnd } from './handler.ts';
import { ForwardSession } from './port-forward-session.ts';
import { failure, SUCCESS } from './session-status.ts';

const GONE: ForwardTarget = {
  gone: AbortSignal.abort(),
  dial: () => Promise.reject(new Error('the pod is not ready')),
};

export class PortForwardService {
  readonly #find: (podId: string) => ForwardTarget | undefined;
  readonly #config: PortForwardConfig;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #connections = 0;

  /** `find` gives a pod that is ready. */
  constructor(find: (podId: string) => ForwardTarget | undefined, config: PortForwardConfig, log: Log) {
    this.#find = find;
    this.#config = config;
    this.#log = log;
  }

  /** Forwarded connections of all sessions, those that are being dialed included. */
  get connections(): number {
    return this.#connections;
  }

  /** Ends every session; their clients are told that the daemon stops. */
  close(): void {
    this.#closing.abort();
  }

  async portForward(ticket: PortForwardTicket, transport: PortForwardTransport, info: ConnectionInfo): Promise<SessionEnd> {
    const log = this.#log.child({ pod: ticket.podId, remote: info.remoteAddress, protocol: transport.protocol });
    const target = this.#find(ticket.podId) ?? GONE;
    const session = new ForwardSession({
      podId: ticket.podId,
      ports: ticket.ports,
      target,
      transport,
      closing: this.#closing.signal,
      maxConnections: this.#config.maxConnectionsPerSession,
      dialTimeoutMs: this.#config.dialTimeoutMs,
      log,
      enter: () => this.#enter(),
    });
    const end = await session.run();
    log.debug({ connections: end.connections, failed: end.failed }, 'forwarded connections');
    return { status: this.#status(target), cause: end.cause };
  }

  #status(target: ForwardTarget): SessionStatus {
    if (target.gone.aborted) return failure('PodStopped', 'the pod has been stopped');
    return this.#closing.signal.aborted ? failure('SessionEnded', 'the daemon stops') : SUCCESS;
  }

  /** Counts a connection; gives what uncounts it, or undefined when there are as many as may be. */
  #enter(): (() => void) | undefined {
    if (this.#connections >= this.#config.maxConnections) return undefined;
    this.#connections += 1;
    return () => {
      this.#connections -= 1;
    };
  }
}
