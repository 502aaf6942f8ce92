/** Port-forward between RPC and connection: finds the pod again when the client comes, holds the limits, runs the session. */
import type { PortForwardConfig } from '../config/config.ts';
import type { PortForwardTransport } from '../transport/port-forward.ts';
import type { Log } from '../util/log.ts';
import type { ForwardTarget } from './forward-target.ts';
import type { ConnectionInfo, PortForwardTicket } from './handler.ts';
import { ForwardSession } from './port-forward-session.ts';

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

  async portForward(ticket: PortForwardTicket, transport: PortForwardTransport, info: ConnectionInfo): Promise<void> {
    const log = this.#log.child({ pod: ticket.podId, remote: info.remoteAddress, protocol: transport.protocol });
    const began = performance.now();
    log.debug({ ports: ticket.ports }, 'port-forward session');
    const session = new ForwardSession({
      podId: ticket.podId,
      ports: ticket.ports,
      target: this.#find(ticket.podId) ?? GONE,
      transport,
      closing: this.#closing.signal,
      maxConnections: this.#config.maxConnectionsPerSession,
      dialTimeoutMs: this.#config.dialTimeoutMs,
      log,
      enter: () => this.#enter(),
    });
    const end = await session.run();
    log.info({ ...end, ms: Math.round(performance.now() - began) }, 'port-forward session ended');
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
