/** Connects to ports on the loopback of pods: of the host's network in the daemon itself, of their own by a dialer for each pod. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { getSystemErrorMessage } from 'node:util';
import { BerthError } from '../util/errors.ts';
import { DialFailed, Dialer, type LoopbackFamily } from './dialer.ts';

/** A dialer that was not needed for this long ends: a browser's next request finds it, a session of hours costs no process. */
const IDLE_MS = 30_000;

const LOOPBACK: readonly (readonly [LoopbackFamily, string])[] = [
  [4, '127.0.0.1'],
  [6, '::1'],
];

type Entry = { readonly dialer: Dialer; idle?: NodeJS.Timeout };

export class PodDialers {
  readonly #shim: string;
  readonly #idleMs: number;
  readonly #dialers = new Map<string, Entry>();

  constructor(shim: string, idleMs: number = IDLE_MS) {
    this.#shim = shim;
    this.#idleMs = idleMs;
  }

  /** Dialers that run. */
  get size(): number {
    return this.#dialers.size;
  }

  /**
   * A connected socket, half-open: 127.0.0.1 first, ::1 when that is refused. Without `netns` the pod is in the host's network.
   * @throws BerthError `PORT_UNREACHABLE`, `RUNTIME_FAILED`; the signal's reason
   */
  async dial(podId: string, netns: string | undefined, port: number, signal: AbortSignal): Promise<Socket> {
    const failures: (readonly [address: string, why: string])[] = [];
    for (const [family, address] of LOOPBACK) {
      try {
        return await (netns === undefined
          ? connectHere(address, port, signal)
          : this.#connectThere(podId, netns, family, port, signal));
      } catch (error) {
        if (!(error instanceof DialFailed)) throw error;
        failures.push([address, getSystemErrorMessage(-error.errno)]);
      }
    }
    throw unreachable(port, failures);
  }

  /** Ends a pod's dialer: the pod goes. */
  async end(podId: string): Promise<void> {
    const entry = this.#dialers.get(podId);
    this.#dialers.delete(podId);
    clearTimeout(entry?.idle);
    await entry?.dialer.end();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#dialers.keys()].map((podId) => this.end(podId)));
  }

  async #connectThere(podId: string, netns: string, family: LoopbackFamily, port: number, signal: AbortSignal): Promise<Socket> {
    const entry = this.#entry(podId, netns);
    clearTimeout(entry.idle);
    try {
      return await entry.dialer.dial(family, port, signal);
    } finally {
      if (this.#dialers.get(podId) === entry) {
        if (entry.dialer.ended) this.#dialers.delete(podId);
        else if (entry.dialer.pending === 0) this.#rest(podId, entry);
      }
    }
  }

  /** Several dials may end before the first of them comes to here: the dialer has one timer, or one would end it in the middle of a dial. */
  #rest(podId: string, entry: Entry): void {
    clearTimeout(entry.idle);
    entry.idle = setTimeout(() => void this.end(podId), this.#idleMs).unref();
  }

  #entry(podId: string, netns: string): Entry {
    const present = this.#dialers.get(podId);
    if (present !== undefined && !present.dialer.ended) return present;
    clearTimeout(present?.idle);
    const entry: Entry = { dialer: new Dialer(this.#shim, netns) };
    this.#dialers.set(podId, entry);
    return entry;
  }
}

async function connectHere(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
  try {
    await once(socket, 'connect', { signal });
  } catch (error) {
    socket.on('error', () => {});
    // Connected in this moment: the program has not got what was meant for it, and an end would look like all of it.
    socket.resetAndDestroy();
    // One that is not there yet is not waited for, but for the one look that tells whether it is.
    setImmediate(() => setImmediate(() => socket.destroy()));
    signal.throwIfAborted();
    const { errno } = error as NodeJS.ErrnoException;
    throw errno === undefined ? error : new DialFailed(-errno);
  }
  socket.on('error', () => {});
  return socket;
}

function unreachable(port: number, failures: readonly (readonly [address: string, why: string])[]): BerthError {
  const reasons = new Set(failures.map(([, why]) => why));
  const text =
    reasons.size === 1
      ? `${[...reasons].join()} on ${failures.map(([address]) => address).join(' and ')}`
      : failures.map(([address, why]) => `${why} on ${address}`).join(', ');
  return new BerthError('unavailable', 'PORT_UNREACHABLE', `port ${port} cannot be reached: ${text}`);
}
