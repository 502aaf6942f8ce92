/**
 * The habits of clients that are not here, as the frames that they send: Python's `kubernetes` (websocket-client: text messages on
 * binary protocols), dashboards (base64 protocols, a bare channel digit as keep-alive), fragments, a close in the middle. They are put
 * together here, so that every protocol and the odd ones can be had; python-recording.test.ts has what a real client sent.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RawConnection, upgradeHeaders } from '../src/http.ts';
import { runContainer, type TestContainer } from '../src/pods.ts';
import { eventually } from '../src/processes.ts';
import { OPCODE, RawWebSocket } from '../src/raw-websocket.ts';
import { daemonWithPod } from '../src/suite.ts';

const FIN = 0x80;
const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

const { daemon, pod } = await daemonWithPod();

/** A masked frame with the shortest length, as every client library makes it. */
function frame(first: number, payload: string | Uint8Array): Buffer {
  const bytes = Buffer.from(payload as string, 'latin1');
  const length =
    bytes.length < 126 ? Buffer.of(0x80 | bytes.length) : Buffer.of(0x80 | 126, bytes.length >> 8, bytes.length & 0xff);
  return Buffer.concat([Buffer.of(first), length, MASK, bytes.map((byte, i) => byte ^ (MASK[i % 4] ?? 0))]);
}

async function open(container: TestContainer, protocol: string | undefined): Promise<RawWebSocket> {
  const url = await container.attachUrl();
  const connection = await RawConnection.open(url);
  assert.equal(await connection.request(url, upgradeHeaders(protocol)), 101);
  const client = new RawWebSocket(connection);
  assert.equal(client.protocol, protocol);
  return client;
}

const ECHO = 'while read -r line; do echo "got $line"; echo "err $line" >&2; done';

describe('Python', () => {
  for (const protocol of ['v4.channel.k8s.io', 'v5.channel.k8s.io', 'channel.k8s.io', undefined]) {
    test(`stdin in text messages, ${protocol ?? 'no subprotocol'}; a proper close leaves the container alone`, async () => {
      const container = await runContainer(daemon, pod, ECHO, { stdin: true });
      using client = await open(container, protocol);
      // `write_channel` takes a str: opcode text, channel 0 as a character, UTF-8.
      client.send(frame(FIN | OPCODE.text, '\0hello\n'), frame(FIN | OPCODE.text, Buffer.from('\0gr\u00fc\u00dfe\n')));
      await client.sees(1, `got hello\n${Buffer.from('got gr\u00fc\u00dfe\n').toString('latin1')}`);
      await client.sees(2, `err hello\n${Buffer.from('err gr\u00fc\u00dfe\n').toString('latin1')}`);
      // Bytes since newer versions: opcode binary.
      client.send(frame(FIN | OPCODE.binary, '\0\x01\xfe\n'));
      await eventually('bytes are bytes', () => client.channel(1).endsWith('got \x01\xfe\n'));
      // `close()`: status 1000 and no reason; the server answers and ends.
      client.send(frame(FIN | OPCODE.close, '\x03\xe8'));
      assert.equal(await client.closes(), 1000);
      const [first] = client.frames;
      assert.deepEqual(first, { opcode: OPCODE.binary, payload: Buffer.of(1) });
      assert.equal((await container.status()).exitCode, 0);
      assert.equal((await container.status()).finishedAt, 0n);
    });
  }

  test('a size in a text message, a ping with data, the end: status and close 1000', async () => {
    const container = await runContainer(daemon, pod, 'read go; stty size; read go', { stdin: true, tty: true });
    using client = await open(container, 'v4.channel.k8s.io');
    client.send(
      frame(FIN | OPCODE.text, '\x04{"Width": 101, "Height": 33}'),
      frame(FIN | OPCODE.ping, 'beat'),
      frame(FIN | OPCODE.text, '\0\r'),
    );
    await client.sees(1, '\r\n33 101\r\n');
    assert.ok(client.frames.some(({ opcode, payload }) => opcode === OPCODE.pong && payload.toString() === 'beat'));
    client.send(frame(FIN | OPCODE.text, '\0\r'));
    await eventually('a status', () => client.channel(3) !== '');
    assert.equal((JSON.parse(client.channel(3)) as { status: string }).status, 'Success');
    client.send(frame(FIN | OPCODE.close, '\x03\xe8'));
    assert.equal(await client.closes(), 1000);
  });
});

describe('dashboards', () => {
  for (const protocol of ['base64.channel.k8s.io', 'v4.base64.channel.k8s.io']) {
    const message = (channel: number, payload: string): Buffer =>
      frame(FIN | OPCODE.text, `${channel}${Buffer.from(payload, 'latin1').toString('base64')}`);

    test(`${protocol}: lines, binary, keep-alives, nonsense that is passed over`, async () => {
      const container = await runContainer(daemon, pod, ECHO, { stdin: true });
      using client = await open(container, protocol);
      client.send(message(0, 'one\n'), frame(FIN | OPCODE.text, '0'), message(0, '\0\x80\xff\n'));
      // Bad base64, a channel that there is not, and the same in a binary message.
      client.send(frame(FIN | OPCODE.text, '0***'), frame(FIN | OPCODE.text, '9AAAA'), frame(FIN | OPCODE.binary, '0dHdvCg=='));
      // The shell's `read` drops the NUL.
      await client.sees(1, 'got one\ngot \x80\xff\ngot two\n', true);
      assert.ok(client.frames.every(({ opcode }) => opcode === OPCODE.text));
      assert.equal(client.frames[0]?.payload.toString(), '1');
    });

    test(`${protocol}: a terminal, its sizes, its end`, async () => {
      const container = await runContainer(daemon, pod, 'read go; stty size; exit 3', { stdin: true, tty: true });
      using client = await open(container, protocol);
      client.send(message(4, '{"Width":120,"Height":40}'), message(0, '\r'));
      await client.sees(1, '\r\n40 120\r\n', true);
      if (protocol.startsWith('v4')) {
        await eventually('a status', () => client.channel(3, true) !== '');
        assert.equal((JSON.parse(client.channel(3, true)) as { status: string }).status, 'Success');
      }
      client.send(frame(FIN | OPCODE.close, '\x03\xe8'));
      assert.equal(await client.closes(), 1000);
    });
  }
});

test('a message in fragments with a ping between them; two frames in one packet; a frame in single bytes', async () => {
  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  using client = await open(container, 'v5.channel.k8s.io');
  client.send(frame(OPCODE.binary, '\0on'), frame(FIN | OPCODE.ping, ''), frame(OPCODE.more, 'e'), frame(FIN | OPCODE.more, '\n'));
  await client.sees(1, 'got one\n');
  client.send(Buffer.concat([frame(FIN | OPCODE.binary, '\0two\n'), frame(FIN | OPCODE.binary, '\0three\n')]));
  await client.sees(1, 'got one\ngot two\ngot three\n');
  for (const byte of frame(FIN | OPCODE.binary, '\0four\n')) {
    client.send(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  await client.sees(1, 'got one\ngot two\ngot three\ngot four\n');
});
