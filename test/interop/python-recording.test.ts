/**
 * What a real client of another language sent, byte for byte: Python's `kubernetes` 37.0.2 with websocket-client 1.9.2 on Python 3.11.7,
 * recorded between it and Berth by a proxy that wrote down its side. Only the path and the address in its requests are ours.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RawConnection } from '../src/http.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { OPCODE, RawWebSocket } from '../src/raw-websocket.ts';
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
const ECHO = 'while read -r line; do echo "got $line"; echo "err $line" >&2; done';

/** Plays the request; what comes back is what the recorded client got. */
async function open(container: TestContainer): Promise<RawWebSocket> {
  const { pathname, host, href } = new URL(await container.attachUrl());
  const connection = await RawConnection.open(href);
  const text = REQUEST.map((line) => `${line.replace('PATH', pathname).replace('HOST', host)}\r\n`).join('');
  connection.socket.write(`${text}\r\n`);
  const client = new RawWebSocket(connection);
  await eventually('the answer and the empty message', () => connection.received.includes('\r\n\r\n') && client.frames.length > 0);
  assert.match(connection.received.toString('latin1'), /^HTTP\/1\.1 101 /);
  assert.equal(client.protocol, 'v5.channel.k8s.io');
  assert.deepEqual(client.frames[0], { opcode: OPCODE.binary, payload: Buffer.of(1) });
  return client;
}

const hex = (bytes: string): Buffer => Buffer.from(bytes, 'hex');

/** Plays the client's close frame and its FIN; the server answers and ends. */
async function close(client: RawWebSocket, frame: string): Promise<void> {
  client.send(hex(frame));
  client.connection.socket.end();
  assert.equal(await client.closes(), 1000);
}

const latin1 = (text: string): string => Buffer.from(text).toString('latin1');

test('write_stdin of text, ASCII and not; close() leaves the container alone', async () => {
  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  using client = await open(container);
  client.send(hex('8187ac75c832ac1dad5ec01ac2'));
  await client.sees(1, 'got hello\n');
  client.send(hex('8189ba7495ffba13e73c06b70a9ab0'));
  await client.sees(1, latin1('got hello\ngot gr\u00fc\u00dfe\n'));
  await client.sees(2, latin1('err hello\nerr gr\u00fc\u00dfe\n'));
  await close(client, '888266df27fc6537');
  assert.equal((await container.status()).finishedAt, 0n);
});

test('write_stdin of bytes (binary=True)', async () => {
  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  using client = await open(container);
  client.send(hex('8284525cd172525d2f78'));
  await client.sees(1, 'got \x01\xfe\n');
  await close(client, '8882c43f3e1dc7d7');
  assert.equal((await container.status()).finishedAt, 0n);
});

test('a terminal: write_channel of a size, the end of the container, its status', async () => {
  const container = await runContainer(daemon, pod, 'read go; stty size; read go', { stdin: true, tty: true });
  using client = await open(container);
  client.send(hex('819ded6a61dae911438d840e15b2cf5041ebdd5b4dfacf2204b38a0215f8d74a52e990'));
  client.send(hex('8182682f29026822'));
  await client.sees(1, '\r\n33 101\r\n');
  client.send(hex('8182e4ca8d0de4c7'));
  await eventually('a status', () => client.channel(3) !== '');
  assert.equal((JSON.parse(client.channel(3)) as { status: string }).status, 'Success');
  await close(client, '88820affe4c50917');
});
