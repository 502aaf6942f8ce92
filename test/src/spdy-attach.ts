/** An attach session over SPDY that counts, as `AttachClient` does over WebSocket. */
import { decodeStatus, SUBPROTOCOLS, successStatus, type WireStatus } from '@berth/attach-protocol';
import { SpdyConnection, type SpdyStream } from './api-server/spdy-connection.ts';
import { Channel } from './attach.ts';
import { eventually } from './processes.ts';
import { addressOf } from './tcp.ts';

export type SpdyAttachOptions = {
  readonly stdin?: boolean;
  /** For `https` URLs: what the server's certificate must go back to. */
  readonly ca?: Uint8Array;
};

export class SpdyAttach implements Disposable {
  readonly stdout = new Channel();
  readonly stderr = new Channel();
  /** The status, once the error stream has ended. */
  status: WireStatus | undefined;
  /** How the connection ended, once it has. */
  closed: { readonly how: 'end' | 'reset'; readonly goAways: number } | undefined;
  /** Streams that did not end by FIN, and output behind the status. */
  readonly faults: string[] = [];
  readonly #connection: SpdyConnection;
  #stdin: SpdyStream | undefined;
  #halfClosed = false;

  private constructor(connection: SpdyConnection) {
    this.#connection = connection;
    const { socket } = connection;
    socket.on('end', () => {
      this.#halfClosed = true;
    });
    socket.on('close', () => {
      this.closed = { how: this.#halfClosed ? 'end' : 'reset', goAways: connection.goAways };
    });
  }

  /** Opens the streams in the order of Go clients, each after the answer to the one before. */
  static async open(url: string, { stdin = false, ca }: SpdyAttachOptions = {}): Promise<SpdyAttach> {
    const connection = await SpdyConnection.open(new URL(url), ['v4.channel.k8s.io'], ca);
    const client = new SpdyAttach(connection);
    const error = await connection.stream({ streamtype: 'error' });
    const said = error.read();
    if (stdin) client.#stdin = await connection.stream({ streamtype: 'stdin' });
    const stdout = await connection.stream({ streamtype: 'stdout' });
    client.#count('stdout', client.stdout, stdout);
    const stderr = await connection.stream({ streamtype: 'stderr' });
    client.#count('stderr', client.stderr, stderr);
    // As Go clients do; a daemon leaves the end to them.
    void Promise.all([error.ended, stdout.ended, stderr.ended]).then(() => connection.close());
    void error.ended.then(async (how) => {
      if (how !== 'fin') return client.#fault('error', how);
      const text = await said;
      // v4 says failures as JSON and success by nothing.
      client.status = text.length === 0 ? successStatus() : decodeStatus(SUBPROTOCOLS['v4.channel.k8s.io'], text);
    });
    return client;
  }

  /** Its end of the connection, as the daemon writes addresses: `127.0.0.1:4711`. */
  get address(): string {
    return addressOf(this.#connection.socket);
  }

  send(data: string): void {
    this.#stdin?.write(Buffer.from(data));
  }

  /** Stops reading, as a client that has been stopped. */
  pause(): void {
    this.#connection.socket.pause();
  }

  resume(): void {
    this.#connection.socket.resume();
  }

  /** Waits for the end of the connection; gives the status. */
  async ended(timeoutMs = 120_000): Promise<WireStatus | undefined> {
    await eventually('the session ends', () => this.closed !== undefined, timeoutMs);
    return this.status;
  }

  [Symbol.dispose](): void {
    this.#connection.destroy();
  }

  #fault(name: string, how: string): void {
    this.faults.push(`the ${name} stream ended by ${how}`);
  }

  #count(name: string, channel: Channel, stream: SpdyStream): void {
    stream.onData = (bytes) => {
      if (this.status !== undefined) this.faults.push(`${name} behind the status`);
      channel.take(bytes);
    };
    void stream.ended.then((how) => {
      if (how !== 'fin') this.#fault(name, how);
    });
  }
}
