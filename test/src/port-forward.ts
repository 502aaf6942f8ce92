/** Forwarded connections over the channels of a WebSocket, and a server in a pod's network for them to reach. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import type { TestDaemon } from './daemon.ts';
import { eventually } from './processes.ts';
import { addressOf } from './tcp.ts';

/** Of the only port: data, and the reason of a failure. */
const DATA = 0;
const ERROR = 1;
/** What stands on both in front of everything else: the port. */
const PORT_BYTES = 2;
/** A client that sends waits while more than this is on its way, bytes. */
const SEND_AHEAD_BYTES = 4 * 1024 * 1024;
/** How much of the output a client keeps to look at. */
const KEPT_BYTES = 64 * 1024;

/** The call; gives the URL. */
export async function portForwardUrl(daemon: TestDaemon, podSandboxId: string, ...port: number[]): Promise<string> {
  return (await daemon.client.runtime.portForward({ podSandboxId, port })).url;
}

/** One connection to one port, as a client of `v4.channel.k8s.io` sees it. */
export class ForwardClient implements Disposable {
  bytes = 0;
  /** The reason that came on the error channel. */
  error = '';
  closed: { readonly code: number; readonly reason: string } | undefined;
  readonly #socket: WebSocket;
  readonly #hash: Hash = createHash('sha256');
  #kept = '';
  readonly #skip = [PORT_BYTES, PORT_BYTES];

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer) => this.#take(data[0] ?? 0, data.subarray(1)));
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    socket.on('error', () => {});
  }

  static async open(daemon: TestDaemon, podId: string, port: number): Promise<ForwardClient> {
    const url = await portForwardUrl(daemon, podId, port);
    const socket = new WebSocket(url.replace(/^http/, 'ws'), 'v4.channel.k8s.io', { perMessageDeflate: false });
    const client = new ForwardClient(socket);
    await once(socket, 'open');
    return client;
  }

  /** Its end of the connection, as the daemon writes addresses: `127.0.0.1:4711`. */
  get address(): string {
    return addressOf(this.#tcp);
  }

  /** The first of what has come. */
  get text(): string {
    return this.#kept;
  }

  sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Sends; waits while too much is on its way. */
  async send(data: string | Uint8Array): Promise<void> {
    this.#socket.send(Buffer.concat([Buffer.of(DATA), typeof data === 'string' ? Buffer.from(data) : data]));
    while (this.#socket.bufferedAmount > SEND_AHEAD_BYTES && this.closed === undefined)
      await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** Stops reading. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Breaks the connection, as the end of a machine does. */
  reset(): void {
    this.#tcp.resetAndDestroy();
  }

  /** The end of the input, which is the end of the connection. */
  close(): void {
    this.#socket.close(1000);
  }

  async came(bytes: number): Promise<void> {
    await eventually(
      () => `${bytes} bytes; there are ${this.bytes}, error "${this.error}", closed ${JSON.stringify(this.closed)}`,
      () => this.bytes >= bytes,
      120_000,
    );
  }

  async ended(): Promise<void> {
    await eventually('the connection is closed', () => this.closed !== undefined, 60_000);
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }

  /** What is below the WebSocket: `ws` has no name for it that is public. */
  get #tcp(): Socket {
    return (this.#socket as unknown as { readonly _socket: Socket })._socket;
  }

  #take(channel: number, payload: Buffer): void {
    const skipped = Math.min(this.#skip[channel] ?? 0, payload.length);
    this.#skip[channel] = (this.#skip[channel] ?? 0) - skipped;
    const rest = payload.subarray(skipped);
    if (channel === ERROR) this.error += rest.toString();
    else {
      this.bytes += rest.length;
      this.#hash.update(rest);
      if (this.#kept.length < KEPT_BYTES) this.#kept += rest.toString('latin1');
    }
  }
}

/** What the server in the pod does on each port; see `forward-server.ts`. */
export const PORTS = { echo: 7000, echo6: 7001, banner: 7002, sink: 7003, nobody: 7099 } as const;

/** The server's process, in the network of a pod. */
export class PodServer implements AsyncDisposable {
  readonly #child: ChildProcess;
  #said = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
  }

  /** Without a pod in the host's network. */
  static async start(daemon: TestDaemon, podId?: string): Promise<PodServer> {
    const script = fileURLToPath(new URL('forward-server.ts', import.meta.url));
    const command = [process.execPath, script];
    const enter = podId === undefined ? [] : ['nsenter', `--net=${join(daemon.state, 'pods', podId, 'net')}`];
    const [program = '', ...args] = [...enter, ...command];
    const server = new PodServer(spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
    await server.said(/ready\n/);
    return server;
  }

  /** A process in the pod's network. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** All that the server has said. */
  get text(): string {
    return this.#said;
  }

  /** Waits until the server has said this. */
  async said(pattern: RegExp): Promise<string> {
    return await eventually(
      () => `${pattern} in ${this.#said}`,
      () => pattern.exec(this.#said)?.[0],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await ended;
    }
  }
}
