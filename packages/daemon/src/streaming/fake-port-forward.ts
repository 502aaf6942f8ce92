// A port-forward transport without a wire, for tests of what stands behind it.

import { type Duplex, duplexPair } from 'node:stream';
import type { PortForwardHandlers, PortForwardTransport } from '../transport/port-forward.ts';

/** One connection as its client sees it. */
export type ClientSide = {
  readonly stream: Duplex;
  /** The transport's end: destroyed when the connection is over, however. */
  readonly data: Duplex;
  /** What was reported on the error stream. */
  readonly failure: () => string | undefined;
};

export class FakeForwardTransport implements PortForwardTransport {
  readonly protocol = 'fake';
  readonly #started = Promise.withResolvers<PortForwardHandlers>();
  readonly #data = new Set<Duplex>();
  finished = false;

  /** Resolves when the session has begun. */
  get started(): Promise<PortForwardHandlers> {
    return this.#started.promise;
  }

  start(handlers: PortForwardHandlers): void {
    this.#started.resolve(handlers);
  }

  async finish(): Promise<void> {
    this.finished = true;
  }

  destroy(): void {}

  /** The client opens a connection; both ends hold up to `highWaterMark` bytes each way. */
  async open(port: number, highWaterMark = 64 * 1024): Promise<ClientSide> {
    const [data, stream] = duplexPair({ highWaterMark });
    let failure: string | undefined;
    stream.on('error', () => {});
    this.#data.add(data);
    (await this.started).connection({
      port,
      data,
      fail: (message) => {
        failure ??= message;
        data.destroy();
      },
    });
    return { stream, data, failure: () => failure };
  }

  /** The client goes without a word. */
  async leave(reason = 'client went away'): Promise<void> {
    for (const data of this.#data) data.destroy();
    (await this.started).closed(reason);
  }
}
