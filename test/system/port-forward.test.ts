/** Port-forward into real pods: bytes both ways, IPv6, refusals, the host's network, many connections, and everything that can die. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NamespaceMode } from '@berth/cri-api';
import { KubeConfig, PortForward } from '@kubernetes/client-node';
import { WebSocketHandler } from '@kubernetes/client-node/dist/web-socket-handler.js';
import { SpdyClient } from '../../packages/daemon/src/testing/spdy-client.ts';
import { TestDaemon } from '../src/daemon.ts';
import { type Pod, runContainer, runPod } from '../src/pods.ts';
import { ForwardClient, PodServer, PORTS, portForwardUrl } from '../src/port-forward.ts';
import { countDescriptors, eventually, keepsNoMemory, listProcesses, readProcess, residentBytes } from '../src/processes.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';

const MIB = 1024 * 1024;

let daemon: TestDaemon;
let pod: Pod;
let server: PodServer;

before(async () => {
  daemon = await TestDaemon.start();
  pod = await runPod(daemon, undefined, NamespaceMode.POD);
  server = await PodServer.start(daemon, pod.id);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

const dialers = (of: TestDaemon): number[] =>
  listProcesses()
    .filter(({ command, state }) => state !== 'Z' && command.includes(of.state) && command.includes('dial --netns'))
    .map(({ pid }) => pid);

/** Sends text to the echo and waits for it. */
async function echo(client: ForwardClient, text: string): Promise<void> {
  const before = client.bytes;
  await client.send(text);
  await client.came(before + Buffer.byteLength(text));
}

test('a web server in a container of the pod', async () => {
  await runContainer(daemon, pod, 'mkdir /www; echo "hello from the pod" > /www/index.html; exec httpd -f -p 80 -h /www');
  const page = await eventually('the server listens', async () => {
    using client = await ForwardClient.open(daemon, pod.id, 80);
    await client.send('GET / HTTP/1.0\r\n\r\n');
    await client.ended();
    return client.text === '' ? undefined : client.text;
  });
  assert.match(page, /^HTTP\/1\.[01] 200 OK\r\n[^]*\r\n\r\nhello from the pod\n$/);
});

test('64 MiB each way at once, exact', async () => {
  using client = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  for (const block of randomBlocks(64 * MIB, 11)) await client.send(block);
  await client.came(64 * MIB);
  assert.equal(client.bytes, 64 * MIB);
  assert.equal(client.sha256(), randomSha256(64 * MIB, 11));
  assert.equal(client.error, '');
});

test('a client that does not read holds back its own connection and nothing else; nothing is lost', async () => {
  using stuck = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  const resident = residentBytes(daemon.pid);
  stuck.pause();
  let sent = 0;
  const sending = (async () => {
    for (const block of randomBlocks(128 * MIB, 12)) {
      await stuck.send(block);
      sent += block.length;
    }
  })();
  await sleep(500);
  using client = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  for (const block of randomBlocks(16 * MIB, 13)) await client.send(block);
  await client.came(16 * MIB);
  assert.equal(client.sha256(), randomSha256(16 * MIB, 13));
  assert.ok(sent < 64 * MIB, `${sent} bytes were taken`);
  const grown = residentBytes(daemon.pid) - resident;
  assert.ok(grown < 64 * MIB, `the daemon has grown by ${grown} bytes`);
  stuck.resume();
  await sending;
  await stuck.came(128 * MIB);
  assert.equal(stuck.sha256(), randomSha256(128 * MIB, 12));
});

test('a hundred connections at once, each with bytes of its own', async () => {
  const clients = await Promise.all(Array.from({ length: 100 }, () => ForwardClient.open(daemon, pod.id, PORTS.echo)));
  await Promise.all(
    clients.map(async (client, i) => {
      for (const block of randomBlocks(MIB, 100 + i)) await client.send(block);
      await client.came(MIB);
    }),
  );
  for (const [i, client] of clients.entries()) {
    assert.equal(client.sha256(), randomSha256(MIB, 100 + i));
    client.close();
  }
  await Promise.all(clients.map((client) => client.ended()));
  assert.equal(dialers(daemon).length, 1);
});

test('IPv6 where IPv4 is refused', async () => {
  using client = await ForwardClient.open(daemon, pod.id, PORTS.echo6);
  await echo(client, 'over ::1');
  assert.equal(client.text, 'over ::1');
});

test('a port where nobody listens: one sentence on the error channel, and a clean end', async () => {
  using client = await ForwardClient.open(daemon, pod.id, PORTS.nobody);
  await client.ended();
  const short = pod.id.slice(0, 13);
  assert.equal(
    client.error,
    `cannot forward to port ${PORTS.nobody} of pod ${short}: port ${PORTS.nobody} cannot be reached: connection refused on 127.0.0.1 and ::1`,
  );
  assert.deepEqual([client.closed?.code, client.bytes], [1000, 0]);
});

test('the end of the input arrives behind all of it; a program that has ended its half still reads', async () => {
  using whole = await ForwardClient.open(daemon, pod.id, PORTS.sink);
  for (const block of randomBlocks(16 * MIB, 3)) await whole.send(block);
  whole.close();
  await server.said(new RegExp(`^${PORTS.sink} end ${16 * MIB} ${randomSha256(16 * MIB, 3)}$`, 'm'));

  // Over SPDY, which has ends of halves: the channels of a WebSocket end with a client that pauses for a second.
  const client = await SpdyClient.connect(await portForwardUrl(daemon, pod.id), { protocols: ['portforward.k8s.io'] });
  try {
    const { data } = await client.forward(PORTS.banner);
    await data.ended;
    for (const block of randomBlocks(3 * MIB, 4)) {
      await sleep(200);
      await data.writeSlowly(block);
    }
    data.end();
    await server.said(new RegExp(`^${PORTS.banner} end ${3 * MIB} ${randomSha256(3 * MIB, 4)}$`, 'm'));
    assert.equal(data.text, 'welcome');
  } finally {
    client.destroy();
  }
});

test('a client that is cut off is a reset for the program, not an end', async () => {
  using client = await ForwardClient.open(daemon, pod.id, PORTS.sink);
  await client.send('half of it');
  await server.said(new RegExp(`^${PORTS.sink} begin ${'half of it'.length}$`, 'm'));
  client.reset();
  await server.said(new RegExp(`^${PORTS.sink} ECONNRESET$`, 'm'));
});

test('a client that is cut off at once is no end for the program either', async () => {
  const { length } = server.text;
  for (let i = 0; i < 20; i += 1) {
    using client = await ForwardClient.open(daemon, pod.id, PORTS.sink);
    client.reset();
  }
  // Whether they have been dialed by then is a race; this one is dialed behind them.
  using last = await ForwardClient.open(daemon, pod.id, PORTS.sink);
  await last.send('the last of them');
  await server.said(new RegExp(`^${PORTS.sink} begin ${'the last of them'.length}$`, 'm'));
  assert.doesNotMatch(server.text.slice(length), new RegExp(`^${PORTS.sink} end`, 'm'));
});

test('the network of the host, without a helper', async () => {
  await using here = await PodServer.start(daemon);
  const host = await runPod(daemon);
  using client = await ForwardClient.open(daemon, host.id, PORTS.echo);
  await echo(client, 'on the host');
  using six = await ForwardClient.open(daemon, host.id, PORTS.echo6);
  await echo(six, 'on ::1 of the host');
  assert.ok(await here.said(/ready/));
  assert.ok(dialers(daemon).length <= 1);
  using refused = await ForwardClient.open(daemon, host.id, PORTS.nobody);
  await refused.ended();
  assert.match(refused.error, /connection refused on 127\.0\.0\.1 and ::1/);
});

test("PortForward of @kubernetes/client-node: its connect is given Berth's URL", async () => {
  const url = new URL(await portForwardUrl(daemon, pod.id, PORTS.echo));
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'berth', server: url.origin, skipTLSVerify: true }, { name: 'nobody' });
  const handler = new WebSocketHandler(config);
  const forward = new PortForward(config, true, {
    connect: async (_path, text, binary) => await handler.connect(url.pathname, text, binary),
  });
  const [output, errors, input] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const socket = await forward.portForward('ns', 'pod', [PORTS.echo], output, errors, input);
  let got = '';
  output.setEncoding('latin1').on('data', (text: string) => {
    got += text;
  });
  input.write('through the library');
  await eventually('the echo', () => got === 'through the library');
  assert.equal(errors.readableLength, 0);
  input.end();
  await eventually('it is closed', () => 'readyState' in socket && socket.readyState === 3);
});

/** Who is connected to the pod's server, by the kernel's table of the pod. */
const connectionsInPod = (): number =>
  readFileSync(`/proc/${server.pid}/net/tcp`, 'latin1')
    .split('\n')
    .filter((line) => line.trim().split(/\s+/)[3] === '01').length;

test('1,000 sessions over channels, SPDY and the tunnel leave nothing: no descriptor, memory, process, connection, session', async () => {
  const channels = async (i: number): Promise<void> => {
    using client = await ForwardClient.open(daemon, pod.id, i % 10 === 0 ? PORTS.nobody : PORTS.echo);
    if (i % 10 === 0) await client.ended();
    else await echo(client, `number ${i}`);
    // Closed in order, or cut off.
    if (i % 3 !== 0) client.close();
  };
  const spdy = async (i: number): Promise<void> => {
    const way = i % 2 === 0 ? { protocols: ['portforward.k8s.io'] } : { tunnel: true, protocols: ['SPDY/3.1+portforward.k8s.io'] };
    const client = await SpdyClient.connect(await portForwardUrl(daemon, pod.id, PORTS.echo, PORTS.nobody), way);
    try {
      const { data, error } = await client.forward(i % 10 < 2 ? PORTS.nobody : PORTS.echo);
      if (i % 10 < 2) {
        await error.ended;
        assert.match(error.text, /refused/);
        return;
      }
      const text = `number ${i}`;
      data.write(Buffer.from(text));
      await eventually('the echo', () => data.bytes === text.length);
      if (i % 4 < 2) return;
      data.end();
      await data.ended;
      client.end();
    } finally {
      client.destroy();
    }
  };
  const lanes = 20;
  const cycle = async (times: number): Promise<void> => {
    const lane = async (from: number): Promise<void> => {
      for (let i = from; i < times; i += lanes) await (i % 3 === 0 ? channels(i / 3) : spdy(Math.floor(i / 3) * 2 + (i % 3) - 1));
    };
    await Promise.all(Array.from({ length: lanes }, (_each, from) => lane(from)));
    await eventually('no session is left', async () => (await daemon.client.sessions.list()).sessions.length === 0);
    await eventually('no connection is left', () => connectionsInPod() === 0);
  };
  // So many that the daemon has taken the memory that it works in.
  await cycle(2_400);
  const before = { descriptors: countDescriptors(daemon.pid), memory: residentBytes(daemon.pid) };
  await cycle(1_000);
  await eventually(
    () => `${countDescriptors(daemon.pid)} descriptors, ${before.descriptors} before`,
    () => countDescriptors(daemon.pid) <= before.descriptors,
    10_000,
  );
  await keepsNoMemory(daemon.pid, before.memory, 48 * MIB);
  assert.equal(dialers(daemon).length, 1);
  // Stdin, stdout, stderr, the channel, epoll.
  assert.ok(countDescriptors(dialers(daemon)[0] ?? 0) <= 5);
});

test('the helper is killed: connections go on, new ones get a new helper', async () => {
  using client = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  await echo(client, 'before');
  const [pid = 0] = dialers(daemon);
  process.kill(pid, 'SIGKILL');
  await eventually('it is gone', () => readProcess(pid) === undefined || readProcess(pid)?.state === 'Z');
  await echo(client, ' after');
  assert.equal(client.text, 'before after');
  using next = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  await echo(next, 'again');
  assert.equal(dialers(daemon).length, 1);
  assert.equal(next.error, '');
});

test('the pod is stopped: the session ends and says so, the helper with it; removed, nothing is left', async () => {
  const doomed = await runPod(daemon, undefined, NamespaceMode.POD);
  await runContainer(daemon, doomed, 'exec httpd -f -p 80');
  await eventually('the server listens', async () => {
    using one = await ForwardClient.open(daemon, doomed.id, 80);
    await one.send('GET / HTTP/1.0\r\n\r\n');
    await one.ended();
    return one.text !== '';
  });
  using client = await ForwardClient.open(daemon, doomed.id, 80);
  await client.send('GET / HTTP/1.0 and no more');
  await using outside = await PodServer.start(daemon, doomed.id);
  using open = await ForwardClient.open(daemon, doomed.id, PORTS.echo);
  await echo(open, 'x');
  await daemon.client.runtime.stopPodSandbox({ podSandboxId: doomed.id });
  await client.ended();
  // What the test runs in the pod's network has not ended with the pod; its connection is told.
  await open.ended();
  assert.match(open.error, /the pod has been stopped$/);
  assert.deepEqual([client.closed?.code, client.error], [1000, '']);
  assert.ok(await outside.said(/ready/));
  await assert.rejects(portForwardUrl(daemon, doomed.id, 7), /not ready/);
  assert.ok(!listProcesses().some(({ command }) => command.includes('dial') && command.includes(doomed.id)));
  await daemon.client.runtime.removePodSandbox({ podSandboxId: doomed.id });
  await assert.rejects(portForwardUrl(daemon, doomed.id, 7), /no pod has the id/);
});

test('the daemon stops: clients are told; it is killed: the helper ends, connections end; it comes back and forwards', async () => {
  await using other = await TestDaemon.start();
  const own = await runPod(other, undefined, NamespaceMode.POD);
  await using inside = await PodServer.start(other, own.id);
  using told = await ForwardClient.open(other, own.id, PORTS.echo);
  await echo(told, 'x');
  await other.stop();
  await told.ended();
  assert.match(told.error, /the daemon stops$/);
  assert.equal(told.closed?.code, 1000);
  assert.equal(dialers(other).length, 0);

  await other.start();
  using cut = await ForwardClient.open(other, own.id, PORTS.sink);
  await cut.send('half of it');
  using echoed = await ForwardClient.open(other, own.id, PORTS.echo);
  await echo(echoed, 'x');
  assert.equal(dialers(other).length, 1);
  await other.kill();
  await Promise.all([cut.ended(), echoed.ended()]);
  assert.notEqual(cut.closed?.code, 1000);
  await eventually('the helper ends', () => dialers(other).length === 0);
  await inside.said(new RegExp(`^${PORTS.sink} (end|ECONNRESET)`, 'm'));

  await other.start();
  using again = await ForwardClient.open(other, own.id, PORTS.echo);
  await echo(again, 'back');
});
