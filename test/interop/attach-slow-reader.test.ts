/**
 * Readers at 20 KB/s for five minutes behind a container that has written everything at once: pongs come in time (client-go gives up
 * 61 s after the last), nobody is dropped, and when they read on they get every byte. All of them at once; the suite runs other files
 * beside this one.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AttachClient } from '../src/attach.ts';
import { ApiServer } from '../src/api-server/api-server.ts';
import { crictlProcess, TRANSPORTS } from '../src/crictl.ts';
import { sessionsBegun, TestDaemon } from '../src/daemon.ts';
import { Kubectl, legs } from '../src/kubectl.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { randomFile } from '../src/random.ts';

const SLOW_MS = 300_000;
const BYTES_PER_SECOND = 20_000;
const TOTAL_BYTES = 32 * 1024 * 1024;
/** How often a reader takes its share. */
const TICK_MS = 50;
/** What client-go allows between two pongs. */
const PONG_MS = 61_000;

let daemon: TestDaemon;
let api: ApiServer;
let sha256: string;

before(async () => {
  daemon = await TestDaemon.start();
  api = await ApiServer.start(daemon);
  sha256 = await randomFile(join(daemon.dir, 'data'), TOTAL_BYTES);
});

after(async () => {
  await api[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

/** Reads a stream slowly for the time, then as fast as it comes. */
async function readSlowly(stream: Readable): Promise<{ readonly slow: number; readonly bytes: number; readonly sha256: string }> {
  const hash = createHash('sha256');
  const start = performance.now();
  let slow = 0;
  for (let elapsed = 0; elapsed < SLOW_MS; elapsed = performance.now() - start) {
    const share = Math.min((elapsed / 1000) * BYTES_PER_SECOND - slow, stream.readableLength);
    const piece = stream.read(Math.max(0, Math.floor(share))) as Buffer | null;
    if (piece !== null) {
      hash.update(piece);
      slow += piece.length;
    }
    await sleep(TICK_MS);
  }
  let bytes = slow;
  for await (const chunk of stream) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { slow, bytes, sha256: hash.digest('hex') };
}

/** A slow link in front of the daemon: what comes from it passes slowly for the time, then as fast as it can. */
async function slowLink(target: URL): Promise<Server> {
  const server = createServer((client) => {
    const remote = connect(Number(target.port), target.hostname);
    client.on('error', () => remote.destroy());
    remote.on('error', () => client.destroy());
    client.pipe(remote);
    void passSlowly(remote, client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function passSlowly(from: Socket, to: Socket): Promise<void> {
  const start = performance.now();
  let passed = 0;
  for (let elapsed = 0; elapsed < SLOW_MS; elapsed = performance.now() - start) {
    const share = Math.min((elapsed / 1000) * BYTES_PER_SECOND - passed, from.readableLength);
    const piece = from.read(Math.max(0, Math.floor(share))) as Buffer | null;
    if (piece !== null) {
      to.write(piece);
      passed += piece.length;
    }
    await sleep(TICK_MS);
  }
  from.pipe(to);
}

/** Pings as client-go does; gives the longest wait for a pong. */
async function longestPong(client: AttachClient): Promise<number> {
  const start = performance.now();
  let longest = 0;
  while (performance.now() - start < SLOW_MS) {
    longest = Math.max(longest, await client.ping());
    await sleep(5_000);
  }
  return longest;
}

test('20 KB/s for five minutes: crictl and kubectl over both transports, a client of our own', async () => {
  const mounts = [{ containerPath: '/data', hostPath: join(daemon.dir, 'data'), readonly: true }];
  const container = await runContainer(daemon, await runPod(daemon), 'read go; cat /data; read end', { stdin: true, mounts });
  // The translator of the tests holds back as much as the kernel takes, as those of real clusters do: not ours to show.
  const direct = legs().filter(({ way }) => way === 'raw');
  const pods = await Promise.all(
    direct.map(async (leg, i) => {
      const name = `slow-${i}`;
      // By exec: the same way of the bytes, and kubectl's pods have no mounts.
      await api.cluster.run(name, 'exec sleep 100000');
      return new Kubectl(leg, api, daemon.dir).spawn([
        'exec',
        '-i',
        name,
        '--',
        'sh',
        '-c',
        `head -c ${TOTAL_BYTES} /dev/zero; read end`,
      ]);
    }),
  );
  const link = await slowLink(new URL(daemon.streaming));
  const url = new URL(await container.attachUrl({ stdin: false }));
  url.port = String((link.address() as AddressInfo).port);
  using own = await AttachClient.open(url.href);
  const viewers = TRANSPORTS.map((transport) => crictlProcess(daemon, ['attach', '-r', transport, container.id]));
  const reads = [...viewers, ...pods].map(async ({ stdout }) => await readSlowly(stdout!));
  const errors = [...viewers, ...pods].map((child) => text(child.stderr!));
  await sessionsBegun(daemon, container.id, viewers.length + 1);
  using writer = await AttachClient.open(await container.attachUrl({ stdout: false, stderr: false }));
  await writer.send('go\n');

  const longest = await longestPong(own);
  await writer.send('end\n');
  for (const child of pods) child.stdin?.end('end\n');
  await own.ended();
  assert.equal(own.status?.status, 'Success');
  assert.equal(own.stdout.bytes, TOTAL_BYTES);
  assert.equal(own.stdout.sha256(), sha256);
  assert.ok(longest < PONG_MS, `a pong took ${longest} ms`);

  const zeros = createHash('sha256').update(Buffer.alloc(TOTAL_BYTES)).digest('hex');
  for (const [i, read] of reads.entries()) {
    const { slow, ...sum } = await read;
    const said = await errors[i];
    assert.deepEqual(sum, { bytes: TOTAL_BYTES, sha256: i < viewers.length ? sha256 : zeros }, `reader ${i}: ${said}`);
    assert.ok(slow < TOTAL_BYTES / 2, 'it read slowly');
  }
  assert.deepEqual(api.faults, []);
  link.close();
});
