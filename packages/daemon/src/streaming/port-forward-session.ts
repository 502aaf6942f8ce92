/** One port-forward session: dials a port of the pod for every connection that the client wants, and joins the two. */
import type { ForwardedConnection, PortForwardTransport } from '../transport/port-forward.ts';
import { Deadline } from '../util/deadline.ts';
import { messageOf } from '../util/errors.ts';
import type { Log } from '../util/log.ts';
import { settledWithin } from '../util/wait.ts';
import { cutOff, drop, type ForwardTarget, type PodSide } from './forward-target.ts';
import { joinConnection, type Traffic } from './join-connection.ts';

/** What a session may do and what it works with. */
export type ForwardOptions = {
  readonly podId: string;
  /** Ports that may be asked for; empty: any. */
  readonly ports: readonly number[];
  readonly target: ForwardTarget;
  readonly transport: PortForwardTransport;
  /** Aborted when the daemon stops. */
  readonly closing: AbortSignal;
  readonly maxConnections: number;
  readonly dialTimeoutMs: number;
  readonly log: Log;
  /** Counts a connection among those of all sessions; gives what uncounts it, or undefined when there are too many. */
  enter(): (() => void) | undefined;
};

/** How the session went, for the log. */
export type ForwardEnd = Traffic & {
  readonly cause: string;
  /** Connections that were asked for, and those of them that could not be served. */
  readonly connections: number;
  readonly failed: number;
};

/**
 * A stopped pod's programs have ended, and with them their connections: what they wrote last gets this long to reach the client. A second
 * longer than a WebSocket client that may still be sending is waited for (its transport's QUIET_MS): a connection whose program has
 * ended goes in order.
 */
const GONE_GRACE_MS = 2_000;
/** Ids are 64 digits long; as many of them as other tools show. */
const SHOWN_ID_DIGITS = 13;

export class ForwardSession {
  readonly #options: ForwardOptions;
  readonly #over = Promise.withResolvers<string>();
  /** Aborted when the session is over, however it ended. */
  readonly #ending = new AbortController();
  /** Connections with what serves them. */
  readonly #serving = new Map<ForwardedConnection, Promise<void>>();
  readonly #pods = new Map<ForwardedConnection, PodSide>();
  readonly #traffic: Traffic = { toPod: 0, toClient: 0 };
  #connections = 0;
  #failed = 0;
  #clientGone = false;

  constructor(options: ForwardOptions) {
    this.#options = options;
  }

  /** Serves until the client leaves, the pod is gone or the daemon stops; then nothing of the session is left. Never rejects. */
  async run(): Promise<ForwardEnd> {
    const { target, transport, closing } = this.#options;
    const stop = (): void => this.#over.resolve('the daemon stops');
    const gone = (): void => void this.#podGone(this.#serving.values());
    closing.addEventListener('abort', stop, { once: true });
    target.gone.addEventListener('abort', gone, { once: true });
    transport.start({
      connection: (connection) => this.#take(connection),
      closed: (reason) => {
        this.#clientGone = true;
        this.#over.resolve(reason);
      },
    });
    if (closing.aborted) stop();
    // Gone before the client came: its first connections are told so.
    if (target.gone.aborted) void this.#podGone([this.#over.promise]);
    const cause = await this.#over.promise;
    this.#ending.abort();
    target.gone.removeEventListener('abort', gone);
    if (!this.#clientGone) {
      for (const connection of this.#serving.keys()) connection.fail(`${this.#about(connection.port)}: ${cause}`);
      this.#dropPods();
      await transport.finish();
      for (const { data } of this.#serving.keys()) data.destroy();
    }
    // After a client that has gone, a program may still be taking the rest of its input; not when the daemon goes as well.
    closing.addEventListener('abort', this.#dropPods, { once: true });
    if (closing.aborted) this.#dropPods();
    await Promise.allSettled(this.#serving.values());
    closing.removeEventListener('abort', stop);
    closing.removeEventListener('abort', this.#dropPods);
    return { cause, connections: this.#connections, failed: this.#failed, ...this.#traffic };
  }

  #take(connection: ForwardedConnection): void {
    this.#connections += 1;
    connection.data.on('error', () => {});
    const served = this.#serve(connection).finally(() => this.#serving.delete(connection));
    this.#serving.set(connection, served);
  }

  readonly #dropPods = (): void => {
    for (const [{ data }, pod] of this.#pods) drop(pod, data.readableEnded);
  };

  async #serve(connection: ForwardedConnection): Promise<void> {
    const refusal = this.#refusal(connection.port);
    const leave = refusal === undefined ? this.#options.enter() : undefined;
    if (leave === undefined) return this.#fail(connection, refusal ?? 'there are too many forwarded connections already');
    try {
      const pod = await this.#dial(connection);
      if (pod === undefined) return;
      this.#pods.set(connection, pod);
      await joinConnection(connection.data, pod, this.#traffic);
      this.#pods.delete(connection);
    } finally {
      leave();
    }
  }

  #refusal(port: number): string | undefined {
    const { ports, maxConnections, target } = this.#options;
    if (target.gone.aborted) return 'the pod is not there any more';
    if (ports.length > 0 && !ports.includes(port)) return 'the call that made this session did not name this port';
    if (this.#serving.size >= maxConnections) return `this session has ${maxConnections} connections already, the most allowed`;
    return undefined;
  }

  /** Undefined: the client has been told why not, or has gone itself. */
  async #dial(connection: ForwardedConnection): Promise<PodSide | undefined> {
    const { dialTimeoutMs, target } = this.#options;
    const { data, port } = connection;
    const giveUp = new AbortController();
    const left = (): void => giveUp.abort(new Error('the client has gone'));
    const timer = new Deadline(dialTimeoutMs, () => giveUp.abort(new Error(`no answer within ${dialTimeoutMs / 1000} s`)));
    data.once('close', left);
    this.#ending.signal.addEventListener('abort', left, { once: true });
    try {
      if (data.destroyed || this.#ending.signal.aborted) return undefined;
      const pod = await target.dial(port, giveUp.signal);
      if (!data.destroyed && !this.#ending.signal.aborted) return pod;
      pod.on('error', () => {});
      cutOff(pod);
    } catch (error) {
      if (!data.destroyed && !this.#ending.signal.aborted) this.#fail(connection, messageOf(error));
    } finally {
      timer.cancel();
      data.off('close', left);
      this.#ending.signal.removeEventListener('abort', left);
    }
    return undefined;
  }

  #fail(connection: ForwardedConnection, why: string): void {
    this.#failed += 1;
    this.#options.log.debug({ port: connection.port, why }, 'a connection is not forwarded');
    connection.fail(`${this.#about(connection.port)}: ${why}`);
  }

  #about(port: number): string {
    return `cannot forward to port ${port} of pod ${this.#options.podId.slice(0, SHOWN_ID_DIGITS)}`;
  }

  /** Ends the session once all of `settling` have settled, or after the grace. */
  async #podGone(settling: Iterable<Promise<unknown>>): Promise<void> {
    await settledWithin(Promise.race([this.#over.promise, Promise.allSettled(settling)]), GONE_GRACE_MS);
    this.#over.resolve('the pod has been stopped');
  }
}
