/** The caps of tickets and sessions, with real attaches and port-forwards: one more is refused by RPC and HTTP, an end makes room. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RpcError } from '@berth/client';
import { NamespaceMode } from '@berth/cri-api';
import { SpdyClient } from '../../packages/daemon/src/testing/spdy-client.ts';
import { UpgradeRefused } from '../src/api-server/spdy-connection.ts';
import { AttachClient } from '../src/attach.ts';
import { TestDaemon } from '../src/daemon.ts';
import { RawConnection, upgradeHeaders } from '../src/http.ts';
import { runContainer, runPod } from '../src/pods.ts';
import { PodServer, PORTS, portForwardUrl } from '../src/port-forward.ts';
import { eventually } from '../src/processes.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';
import { SpdyAttach } from '../src/spdy-attach.ts';

const MIB = 1024 * 1024;
const CAP = 3;

/** What a call fails with at a cap. */
const exhausted = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof RpcError);
  assert.deepEqual([error.status, error.code], ['RESOURCE_EXHAUSTED', code]);
  assert.match(error.message, message);
  return true;
};

/** What each way of a port-forward offers. */
const WAYS = {
  spdy: { protocols: ['portforward.k8s.io'] },
  tunnel: { tunnel: true, protocols: ['SPDY/3.1+portforward.k8s.io'] },
} as const;
type Way = keyof typeof WAYS;

const open = async (url: string, way: Way): Promise<SpdyClient> => await SpdyClient.connect(url, WAYS[way]);

/** Forwards a connection of 1 MiB to the echo and back, byte for byte, to its end. */
async function forwards(client: SpdyClient, seed: number): Promise<void> {
  const { data, error } = await client.forward(PORTS.echo);
  for (const block of randomBlocks(MIB, seed)) await data.writeSlowly(block);
  data.end();
  await data.ended;
  await error.ended;
  assert.deepEqual([data.bytes, data.sha256, error.bytes], [MIB, randomSha256(MIB, seed), 0]);
}

/** Both ways are answered 429 with the reason and when to come again; the URL stays good. */
async function refused(url: string, podId: string): Promise<void> {
  const reason = `container or pod ${podId} has ${CAP} sessions already, the most allowed`;
  for (const headers of [
    { Upgrade: 'SPDY/3.1', Connection: 'Upgrade', 'X-Stream-Protocol-Version': 'portforward.k8s.io' },
    upgradeHeaders(WAYS.tunnel.protocols[0]),
    upgradeHeaders('v4.channel.k8s.io'),
  ]) {
    using raw = await RawConnection.open(url);
    assert.equal(await raw.request(url, headers, 'Sec-WebSocket-Key' in headers ? 'GET' : 'POST'), 429);
    await raw.gone();
    const text = raw.received.toString('latin1');
    assert.match(text, /^Retry-After: \d+\r$/im);
    assert.ok(text.includes(reason), text);
  }
}

test(`a pod with ${CAP} port-forward sessions: one more is refused over SPDY, tunnel and channels; the end of one makes room`, async () => {
  await using daemon = await TestDaemon.start({ settings: `[streaming]\nmax_sessions_per_container = ${CAP}` });
  const pod = await runPod(daemon, undefined, NamespaceMode.POD);
  await using _server = await PodServer.start(daemon, pod.id);
  const other = await runPod(daemon, undefined, NamespaceMode.POD);
  await using _otherServer = await PodServer.start(daemon, other.id);
  const container = await runContainer(daemon, pod, 'while read -r line; do echo "got $line"; done', { stdin: true });

  const [first = '', second = '', third = '', late = ''] = await Promise.all(
    Array.from({ length: CAP + 1 }, async () => await portForwardUrl(daemon, pod.id)),
  );
  const byEnd = await open(first, 'tunnel');
  const byReset = await open(second, 'spdy');
  const stays = await open(third, 'spdy');
  try {
    for (const [seed, client] of [byEnd, byReset, stays].entries()) await forwards(client, seed);

    await refused(late, pod.id);
    await assert.rejects(portForwardUrl(daemon, pod.id), exhausted('TOO_MANY_SESSIONS', /3 sessions already/));
    // Those who are there, the pod's containers and other pods do not notice.
    await forwards(stays, 10);
    using attached = await AttachClient.open(await container.attachUrl());
    await attached.send('here\n');
    await attached.sees(/^got here\n$/);
    const elsewhere = await open(await portForwardUrl(daemon, other.id), 'tunnel');
    await forwards(elsewhere, 11);
    elsewhere.destroy();

    // A client that ends makes room for the URL that was refused, and for one only.
    byEnd.end();
    const next = await eventually('there is room after an end', async () => await open(late, 'spdy').catch(() => undefined));
    await forwards(next, 12);
    await assert.rejects(portForwardUrl(daemon, pod.id), /3 sessions already/);
    // So does one that is cut off.
    byReset.destroy();
    const again = await eventually('there is room after a cut', async () => {
      const url = await portForwardUrl(daemon, pod.id).catch(() => undefined);
      return url === undefined ? undefined : await open(url, 'tunnel');
    });
    await forwards(again, 13);
    await forwards(stays, 14);
    await assert.rejects(portForwardUrl(daemon, pod.id), /3 sessions already/);
    for (const client of [next, again, stays]) client.destroy();
    await eventually('only the attach session is left', async () => (await daemon.client.sessions.list()).sessions.length === 1);
  } finally {
    for (const client of [byEnd, byReset, stays]) client.destroy();
  }
});

test('attach: too many tickets, sessions of a container, sessions in all; a refused URL stays good', async () => {
  const settings = '[streaming]\nmax_tickets = 3\nmax_sessions = 2\nmax_sessions_per_container = 1';
  await using daemon = await TestDaemon.start({ settings });
  const pod = await runPod(daemon);
  const echo = 'while read -r line; do echo "got $line"; done';
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(async () => await runContainer(daemon, pod, echo, { stdin: true })));
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  const [first, second, other] = [await a.attachUrl(), await a.attachUrl(), await b.attachUrl()];
  await assert.rejects(c.attachUrl(), exhausted('TOO_MANY_TICKETS', /3 streaming URLs are unused already/));

  using one = await AttachClient.open(first);
  await assert.rejects(a.attachUrl(), exhausted('TOO_MANY_SESSIONS', /has 1 sessions already/));
  await assert.rejects(AttachClient.open(second), /HTTP 429/);
  await assert.rejects(SpdyAttach.open(second), (error) => error instanceof UpgradeRefused && error.status === 429);
  using two = await AttachClient.open(other);
  await assert.rejects(c.attachUrl(), exhausted('TOO_MANY_SESSIONS', /there are 2 sessions already/));
  for (const client of [one, two]) {
    await client.send('full\n');
    await client.sees(/^got full\n$/);
  }

  one.kill();
  // Its URL is still the one from before: what was said since is there.
  using late = await eventually('there is room', async () => await SpdyAttach.open(second, { stdin: true }).catch(() => undefined));
  late.send('late\n');
  await eventually('output', () => late.stdout.text() === 'got full\ngot late\n');
  await assert.rejects(AttachClient.open(second), /HTTP 404/);
});
