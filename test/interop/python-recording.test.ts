/**
 * What a real client of another language sent, byte for byte: Python's `kubernetes` 37.0.2 with websocket-client 1.9.2 on Python 3.11.7,
 * recorded between it and Berth by a proxy that wrote down its side. Only the path and the address in its requests are ours.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RawConnection } from '../src/http.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { serverFrames } from '../src/server-frames.ts';
import { daemonWithPod } from '../src/suite.ts';

const { daemon, pod } = await daemonWithPod();

const REQUEST = [
  'GET PATH HTTP/1.1',
  'Upgrade: websocket',
  'Host: HOST',
  'Origin: http://HOST',
  'Sec-WebSocket-Key: hq6+Fu/04zZOsni6PRrqFw==',
  'Sec-WebSocket-Version: 13',
  'Connection: Upgrade',
  'sec-websocket-protocol: v5.channel.k8s.io,v4.channel.k8s.io',
];
const BINARY = 0x2;
const CLOSE = 0x8;
const ECHO = 'while read -r line; do echo "got $line"; echo "err $line" >&2; done';

/** A connection that the recording is played on. */
class Played implements Disposable {
  readonly connection: RawConnection;

  private constructor(connection: RawConnection) {
    this.connection = connection;
  }

  static async open(container: TestContainer): Promise<Played> {
    const { pathname, host, href } = new URL(await container.attachUrl());
    const connection = await RawConnection.open(href);
    const text = REQUEST.map((line) => `${line.replace('PATH', pathname).replace('HOST', host)}\r\n`).join('');
    connection.socket.write(`${text}\r\n`);
    const client = new Played(connection);
    await eventually('the answer and the empty message', () => client.#text().includes('\r\n\r\n') && client.#frames().length > 0);
    assert.match(client.#text(), /^HTTP\/1\.1 101 /);
    assert.match(client.#text(), /^sec-websocket-protocol: v5\.channel\.k8s\.io\r$/im);
    assert.deepEqual(client.#frames()[0], { opcode: BINARY, payload: Buffer.of(1) });
    return client;
  }

  send(hex: string): void {
    this.connection.socket.write(Buffer.from(hex, 'hex'));
  }

  channel(number: number): string {
    const pieces = this.#frames().filter(({ opcode, payload }) => opcode === BINARY && payload[0] === number);
    return Buffer.concat(pieces.map(({ payload }) => payload.subarray(1))).toString('latin1');
  }

  async sees(number: number, wanted: string): Promise<void> {
    await eventually(
      () => `channel ${number} is ${JSON.stringify(wanted)}; it is ${JSON.stringify(this.channel(number))}`,
      () => this.channel(number) === wanted,
    );
  }

  /** Plays the client's close frame and its FIN; the server answers and ends. */
  async closes(hex: string): Promise<void> {
    this.send(hex);
    this.connection.socket.end();
    await this.connection.gone();
    assert.equal(
      this.#frames()
        .find(({ opcode }) => opcode === CLOSE)
        ?.payload.readUInt16BE(),
      1000,
    );
  }

  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]();
  }

  #text(): string {
    return this.connection.received.toString('latin1');
  }

  #frames(): ReturnType<typeof serverFrames> {
    return serverFrames(this.connection.received);
  }
}

const latin1 = (text: string): string => Buffer.from(text).toString('latin1');

test('write_stdin of text, ASCII and not; close() leaves the container alone', async () => {
  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  using client = await Played.open(container);
  client.send('8187ac75c832ac1dad5ec01ac2');
  await client.sees(1, 'got hello\n');
  client.send('8189ba7495ffba13e73c06b70a9ab0');
  await client.sees(1, latin1('got hello\ngot gr\u00fc\u00dfe\n'));
  await client.sees(2, latin1('err hello\nerr gr\u00fc\u00dfe\n'));
  await client.closes('888266df27fc6537');
  assert.equal((await container.status()).finishedAt, 0n);
});

test('write_stdin of bytes (binary=True)', async () => {
  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  using client = await Played.open(container);
  client.send('8284525cd172525d2f78');
  await client.sees(1, 'got \x01\xfe\n');
  await client.closes('8882c43f3e1dc7d7');
  assert.equal((await container.status()).finishedAt, 0n);
});

test('a terminal: write_channel of a size, the end of the container, its status', async () => {
  const container = await runContainer(daemon, pod, 'read go; stty size; read go', { stdin: true, tty: true });
  using client = await Played.open(container);
  client.send('819ded6a61dae911438d840e15b2cf5041ebdd5b4dfacf2204b38a0215f8d74a52e990');
  client.send('8182682f29026822');
  await client.sees(1, '\r\n33 101\r\n');
  client.send('8182e4ca8d0de4c7');
  await eventually('a status', () => client.channel(3) !== '');
  assert.equal((JSON.parse(client.channel(3)) as { status: string }).status, 'Success');
  await client.closes('88820affe4c50917');
});
