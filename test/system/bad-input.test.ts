/** What is wrong is refused as the table says, and does no harm: requests, tickets, frames, floods. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RpcError } from '@berth/client';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { frame, RawConnection, upgradeHeaders } from '../src/http.ts';
import { createContainer, type Pod, runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { countDescriptors, eventually, keepsNoMemory, listProcesses, residentBytes } from '../src/processes.ts';

const MIB = 1024 * 1024;
const ECHO = 'while read -r line; do echo "got $line"; done';

let daemon: TestDaemon;
let pod: Pod;
let echo: TestContainer;

before(async () => {
  daemon = await TestDaemon.start();
  pod = await runPod(daemon);
  echo = await runContainer(daemon, pod, ECHO, { stdin: true });
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
});

/** The container and its daemon are as well as ever. */
async function stillWell(): Promise<void> {
  using client = await AttachClient.open(await echo.attachUrl());
  await client.send('hello\n');
  await client.sees(/got hello\n/);
}

type Streams = { stdin?: boolean; stdout?: boolean; stderr?: boolean; tty?: boolean };

async function refused(containerId: string, streams: Streams, status: string, message: RegExp): Promise<void> {
  await assert.rejects(daemon.client.runtime.attach({ containerId, ...streams }), (error: unknown) => {
    assert.ok(error instanceof RpcError);
    assert.equal(error.status, status);
    assert.match(error.message, message);
    return true;
  });
}

test("Attach refuses what the table refuses, with the table's words", async () => {
  await refused('', { stdout: true }, 'INVALID_ARGUMENT', /missing required container_id/);
  await refused('0123456789abcdef', { stdout: true }, 'NOT_FOUND', /0123456789abcdef/);
  await refused(pod.id, { stdout: true }, 'NOT_FOUND', new RegExp(pod.id.slice(0, 12)));
  await refused(echo.id, {}, 'INVALID_ARGUMENT', /one of stdin, stdout, and stderr must be set/);
  await refused(echo.id, { stdout: true, tty: true }, 'INVALID_ARGUMENT', /tty/);
  const created = await createContainer(daemon, pod, 'true');
  await refused(created.id, { stdout: true }, 'FAILED_PRECONDITION', /created/i);
  const exited = await runContainer(daemon, pod, 'exit 9');
  await exited.exited();
  await refused(exited.id, { stdout: true }, 'FAILED_PRECONDITION', /exited.*9/i);
});

test('what the table accepts is accepted: an id prefix, tty with stderr on a terminal, no tty asked of one', async () => {
  const terminal = await runContainer(daemon, pod, ECHO, { tty: true, stdin: true });
  for (const streams of [
    { tty: true, stdout: true, stderr: true },
    { tty: false, stdout: true },
  ]) {
    const { url } = await daemon.client.runtime.attach({ containerId: terminal.id.slice(0, 20), ...streams, stdin: true });
    using client = await AttachClient.open(url);
    await client.send('x\n');
    await client.sees(/got x\r\n/);
    assert.equal(client.stderr.bytes, 0);
    assert.deepEqual(client.faults, []);
  }
});

test('only the streams that were asked for are sent', async () => {
  const container = await runContainer(daemon, pod, 'while read -r line; do echo "out $line"; echo "err $line" >&2; done', {
    stdin: true,
  });
  using both = await AttachClient.open(await container.attachUrl());
  using errors = await AttachClient.open(await container.attachUrl({ stdin: false, stdout: false }));
  await both.send('a\n');
  await eventually('both streams', () => both.stderr.text() === 'err a\n' && both.stdout.text() === 'out a\n');
  await eventually('stderr alone', () => errors.stderr.text() === 'err a\n');
  assert.equal(errors.stdout.bytes, 0);
  assert.deepEqual([...both.faults, ...errors.faults], []);
});

test('tickets: garbage and used ones are 404, what is no upgrade does not consume one', async () => {
  const answer = async (url: string, headers: Record<string, string>, method?: string): Promise<number> => {
    using connection = await RawConnection.open(url);
    return await connection.request(url, headers, method);
  };
  const url = await echo.attachUrl();
  assert.equal(await answer(`${daemon.streaming}/attach/AAAAAAAAAAAAAAAAAAAAAAAA`, upgradeHeaders('v4.channel.k8s.io')), 404);
  assert.equal(await answer(`${daemon.streaming}/attach/`, upgradeHeaders('v4.channel.k8s.io')), 404);
  assert.equal(await answer(`${daemon.streaming}/attach/${'%00/../'.repeat(20)}`, upgradeHeaders('v4.channel.k8s.io')), 404);
  assert.equal(await answer(url.replace('/attach/', '/exec/'), upgradeHeaders('v4.channel.k8s.io')), 404);
  assert.equal(await answer(url, {}), 400);
  assert.equal(await answer(url, {}, 'DELETE'), 405);
  assert.equal(await answer(url, upgradeHeaders('v9.channel.example')), 403);
  assert.equal(await answer(url, { ...upgradeHeaders('v4.channel.k8s.io'), 'Sec-WebSocket-Version': '12' }), 400);
  assert.equal(
    await answer(url, { ...upgradeHeaders('v4.channel.k8s.io'), Host: 'elsewhere.example', Origin: 'http://evil.example' }),
    101,
  );
  assert.equal(await answer(url, upgradeHeaders('v4.channel.k8s.io')), 404);
  assert.doesNotMatch(daemon.log(), new RegExp(url.split('/').at(-1) ?? 'no ticket'));
  await stillWell();
});

test('a ticket expires', async () => {
  await using short = await TestDaemon.start({ settings: '[streaming]\nticket_ttl_ms = 1000' });
  const container = await runContainer(short, await runPod(short), 'sleep 1000');
  const url = await container.attachUrl();
  await sleep(1500);
  await assert.rejects(AttachClient.open(url), /404/);
});

const MALFORMED: readonly (readonly [string, Buffer])[] = [
  ['an unmasked frame', frame(0x82, Buffer.from('\0x'), { masked: false })],
  ['reserved bits', frame(0xf2, Buffer.from('\0x'))],
  ['an unknown opcode', frame(0x83, Buffer.from('\0x'))],
  ['a length beyond every limit', frame(0x82, Buffer.alloc(0), { length: 1n << 40n })],
  ['a length with the highest bit', frame(0x82, Buffer.alloc(0), { length: 1n << 63n })],
  ['a fragmented ping', frame(0x09, Buffer.from('x'))],
  ['a continuation of nothing', frame(0x80, Buffer.from('x'))],
  ['random bytes', Buffer.from('ffffffffffffffffffffffffffffffffdeadbeef', 'hex')],
];

for (const [name, bytes] of MALFORMED) {
  test(`malformed frames end their connection and nothing else: ${name}`, async () => {
    const url = await echo.attachUrl();
    using connection = await RawConnection.open(url);
    assert.equal(await connection.request(url, upgradeHeaders('v5.channel.k8s.io')), 101);
    connection.socket.write(bytes);
    await connection.gone();
    await stillWell();
  });
}

test('nonsense inside proper frames does not end the session', async () => {
  using client = await AttachClient.open(await echo.attachUrl());
  for (const text of ['\x04{', '\x04[]', '\x04{"Width":-1}', '\x04', '\x01to stdout', '\x03status', '\x07nobody', '\xfe'])
    client.raw(Buffer.from(text, 'latin1'));
  await client.send('one\n');
  await client.sees(/got one\n/);
  assert.deepEqual(client.faults, []);

  using base64 = await AttachClient.open(await echo.attachUrl(), { protocol: 'base64.channel.k8s.io' }).catch(() =>
    assert.fail('base64 refused'),
  );
  base64.raw('0!!!not base64!!!');
  base64.raw(`0${Buffer.from('two\n').toString('base64')}`);
  await client.sees(/got two\n/);
  await stillWell();
});

test('1 GiB sent to a container that does not read: bounded memory, pongs, output and exit go on', async () => {
  const container = await runContainer(daemon, pod, 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done', { stdin: true });
  using client = await AttachClient.open(await container.attachUrl());
  const block = new Uint8Array(MIB);
  let sent = 0;
  const flood = (async () => {
    for (; sent < 1024 && client.closed === undefined; sent += 1) await client.send(block);
  })();
  await sleep(3000);
  assert.ok(sent < 64, `the daemon took ${sent} MiB that nobody reads`);
  const before = client.stdout.bytes;
  assert.ok((await pongOf(container)) < 15_000);
  await eventually('output goes on', () => client.stdout.bytes > before);
  assert.ok(residentBytes(daemon.pid) < 400 * MIB, `the daemon has ${residentBytes(daemon.pid) / MIB} MiB`);
  await stillWell();
  await daemon.client.runtime.stopContainer({ containerId: container.id, timeout: 0n });
  assert.equal((await client.ended())?.status, 'Success');
  await flood;
});

/** Another session's round trip. */
async function pongOf(container: TestContainer): Promise<number> {
  using client = await AttachClient.open(await container.attachUrl({ stdin: false }));
  return await client.ping();
}

test('10,000 connects and disconnects leave no descriptor, no memory, no process', async () => {
  const cycle = async (times: number): Promise<void> => {
    const lane = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        const client = await AttachClient.open(await echo.attachUrl());
        if (i % 2 === 0) client.kill();
        else {
          client.close();
          await client.ended();
        }
      }
    };
    await Promise.all(Array.from({ length: 10 }, () => lane(times / 10)));
  };
  const mine = (): number => listProcesses().filter(({ ppid }) => ppid === daemon.pid).length;
  // The first thousands fill caches and let the heap grow to its working size; what comes after must not add to it.
  await cycle(5000);
  await sleep(1000);
  const before = { descriptors: countDescriptors(daemon.pid), memory: residentBytes(daemon.pid), processes: mine() };
  await cycle(5000);
  await eventually('descriptors are closed', () => countDescriptors(daemon.pid) <= before.descriptors + 2);
  assert.ok(mine() <= before.processes);
  await keepsNoMemory(daemon.pid, before.memory, 64 * MIB);
  await stillWell();
});
