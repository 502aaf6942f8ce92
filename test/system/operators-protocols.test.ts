/** What operators see of sessions over SPDY, and of port-forward over each of its transports: whole audit lines, rows and counts. */
import assert from 'node:assert/strict';
import { userInfo } from 'node:os';
import { after, before, test } from 'node:test';
import { NamespaceMode } from '@berth/cri-api';
import { type ParsedFamily, valueOf } from '../../packages/daemon/src/testing/parse-exposition.ts';
import { SpdyClient } from '../../packages/daemon/src/testing/spdy-client.ts';
import { SpdyConnection, type SpdyStream } from '../src/api-server/spdy-connection.ts';
import { auditOf, bytesMoved, onlySession, scrape } from '../src/audit.ts';
import { berth } from '../src/berth.ts';
import { TestDaemon } from '../src/daemon.ts';
import { type Pod, runContainer, runPod, type TestContainer } from '../src/pods.ts';
import { ForwardClient, PodServer, PORTS, portForwardUrl } from '../src/port-forward.ts';
import { eventually } from '../src/processes.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';
import { SpdyAttach } from '../src/spdy-attach.ts';
import { addressOf } from '../src/tcp.ts';

/** As the daemon names protocols that clients speak over SPDY. */
const V4 = 'SPDY/3.1 v4.channel.k8s.io';
const SPDY_FORWARD = 'SPDY/3.1 portforward.k8s.io';
const CHANNELS = 'v4.channel.k8s.io';
const TUNNEL = 'SPDY/3.1+portforward.k8s.io';
const MIB = 1024 * 1024;

let daemon: TestDaemon;
let pod: Pod;
let server: PodServer;

before(async () => {
  daemon = await TestDaemon.start({ settings: '[metrics]\naddress = "127.0.0.1:0"' });
  pod = await runPod(daemon, 'watched', NamespaceMode.POD);
  server = await PodServer.start(daemon, pod.id);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

/** Sessions of a kind over a protocol: how many run, and how many have begun. */
const sessions = (families: Map<string, ParsedFamily>, kind: string, protocol: string): readonly [number, number] => [
  valueOf(families, 'berth_sessions', { kind, protocol }),
  valueOf(families, 'berth_sessions_total', { kind, protocol }),
];

const ended = (families: Map<string, ParsedFamily>, kind: string, reason: string): number =>
  valueOf(families, 'berth_sessions_ended_total', { kind, reason });

/** What begin and end of every session have. */
const BEGIN = { event: 'session', phase: 'begin', level: 'info', msg: 'session begins' };
const END = { event: 'session', phase: 'end', level: 'info', msg: 'session ended' };

/** What list and audit lines have of a session of a container over SPDY, and what JSON has beside that. */
const sessionOf = (kind: 'attach' | 'exec', { id, config }: TestContainer, { address }: SpdyAttach) => {
  const name = config.metadata?.name ?? '';
  return {
    target: [kind, name, id.slice(0, 12), address, V4],
    who: {
      kind,
      containerName: name,
      podName: 'watched',
      podNamespace: 'test',
      remote: address,
      protocol: V4,
      streams: ['stdin', 'stdout', 'stderr'],
      tty: false,
    },
    json: { containerId: id, podId: pod.id, clientCertificate: '', ports: [], connections: '0' },
  } as const;
};

test('an attach over SPDY: list, audit lines and metrics, while it runs and when the container has exited', async () => {
  const script = "head -c 4000 | wc -c; head -c 300000 /dev/zero; printf 'err\\000!' >&2; read end";
  const container = await runContainer(daemon, pod, script, { stdin: true });
  const since = Date.now();
  using client = await SpdyAttach.open(await container.attachUrl(), { stdin: true });
  client.send('i'.repeat(4000));
  const out = '4000\n'.length + 300_000;
  await eventually('all output at the client', () => client.stdout.bytes === out && client.stderr.bytes === 5);

  const { id, row, json } = await onlySession(daemon, since);
  assert.match(id, /^[0-9a-f]{12}$/);
  const { target, who, json: rest } = sessionOf('attach', container, client);
  assert.deepEqual(row, [id, ...target, 'stdin,stdout,stderr', '4.0 kB', '300.0 kB', '0 B']);
  const moved = { bytesIn: '4000', bytesOut: String(out + 5), lagBytes: '0' };
  assert.deepEqual(json, { ...who, ...rest, id, command: '', ...moved });
  const during = await scrape(daemon);
  assert.deepEqual(sessions(during, 'attach', V4), [1, 1]);
  assert.deepEqual(bytesMoved(during, 'attach'), { 'in stdin': 4000, 'out stdout': out, 'out stderr': 5 });

  client.send('end\n');
  assert.equal((await client.ended())?.status, 'Success');
  assert.deepEqual(client.faults, []);
  const common = { ...who, session: id, container: container.id, pod: pod.id, from: 'now' };
  const how = { reason: 'Exited', cause: 'container exited', status: 'Success' };
  assert.deepEqual(await auditOf(daemon, id), [
    { ...BEGIN, ...common },
    { ...END, ...common, ...how, bytesIn: 4004, bytesOut: out + 5, stdout: out, stderr: 5 },
  ]);
  const afterwards = await scrape(daemon);
  assert.deepEqual([...sessions(afterwards, 'attach', V4), ended(afterwards, 'attach', 'Exited')], [0, 1, 1]);
  assert.deepEqual(bytesMoved(afterwards, 'attach'), { 'in stdin': 4004, 'out stdout': out, 'out stderr': 5 });
});

test('an exec over SPDY: its program in list and audit lines, its exit code at the end', async () => {
  const container = await runContainer(daemon, pod, 'sleep 1000');
  const cmd = ['sh', '-c', 'head -c 1000 /dev/zero; printf e >&2; read go; exit 7'];
  const { url } = await daemon.client.runtime.exec({ containerId: container.id, cmd, stdin: true, stdout: true, stderr: true });
  const since = Date.now();
  using client = await SpdyAttach.open(url, { stdin: true });
  await eventually('all output at the client', () => client.stdout.bytes === 1000 && client.stderr.bytes === 1);

  const { id, row, json } = await onlySession(daemon, since);
  const { target, who, json: rest } = sessionOf('exec', container, client);
  assert.deepEqual(row, [id, ...target, 'stdin,stdout,stderr (sh)', '0 B', '1.0 kB', '-']);
  assert.deepEqual(json, { ...who, ...rest, id, command: 'sh', bytesIn: '0', bytesOut: '1001' });

  client.send('go\n');
  assert.equal((await client.ended())?.status, 'Failure');
  assert.deepEqual(client.faults, []);
  const common = { ...who, session: id, container: container.id, pod: pod.id, command: 'sh', arguments: 2 };
  const how = { reason: 'Exited', cause: 'exited with 7', status: 'Failure', exitCode: 7 };
  assert.deepEqual(await auditOf(daemon, id), [
    { ...BEGIN, ...common },
    { ...END, ...common, ...how, bytesIn: 3, bytesOut: 1001, stdout: 1000, stderr: 1 },
  ]);
  const families = await scrape(daemon);
  assert.deepEqual([...sessions(families, 'exec', V4), ended(families, 'exec', 'Exited')], [0, 1, 1]);
  assert.deepEqual(bytesMoved(families, 'exec'), { 'in stdin': 3, 'out stdout': 1000, 'out stderr': 1 });
});

/** What list and audit lines have of a port-forward to the file's pod. */
const forwardOf = (remote: string, protocol: string, ports: readonly number[]) =>
  ({ kind: 'portforward', podName: 'watched', podNamespace: 'test', remote, protocol, ports }) as const;

/** What JSON has of one beside that: nothing of containers. */
const jsonOf = (id: string, bytes: number, connections: number) => ({
  id,
  containerId: '',
  containerName: '',
  podId: pod.id,
  clientCertificate: '',
  streams: [],
  tty: false,
  command: '',
  bytesIn: String(bytes),
  bytesOut: String(bytes),
  connections: String(connections),
});

/** Opens the pair of a forwarded connection as Go's client does. */
async function forward(connection: SpdyConnection, port: number, requestid: number): Promise<Record<'error' | 'data', SpdyStream>> {
  const headers = { port: String(port), requestid: String(requestid) };
  const error = await connection.stream({ streamtype: 'error', ...headers });
  error.end();
  const data = await connection.stream({ streamtype: 'data', ...headers });
  return { error, data };
}

test('a port-forward over SPDY, killed by the command: three connections are counted, and the one that is open is told', async () => {
  const ports = [PORTS.echo, PORTS.nobody];
  const url = await portForwardUrl(daemon, pod.id, ...ports);
  const since = Date.now();
  const connection = await SpdyConnection.open(new URL(url), ['portforward.k8s.io']);
  try {
    // One to its end, one to nobody, and one that stays.
    const whole = await forward(connection, PORTS.echo, 0);
    for (const block of randomBlocks(MIB + 17, 1)) if (!whole.data.write(block)) await connection.drained();
    whole.data.end();
    const [echoed, error] = await Promise.all([whole.data.read(), whole.error.read()]);
    assert.deepEqual([echoed.length, error.length], [MIB + 17, 0]);
    const nobody = await forward(connection, PORTS.nobody, 1);
    assert.match((await nobody.error.read()).toString(), /connection refused/);
    const stays = await forward(connection, PORTS.echo, 2);
    let came = '';
    stays.data.onData = (bytes) => {
      came += bytes.toString('latin1');
    };
    const told = stays.error.read();
    stays.data.write(Buffer.from('still here'));
    await eventually('the echo', () => came === 'still here');

    const bytes = MIB + 17 + 'still here'.length;
    const address = addressOf(connection.socket);
    const { id, row, json } = await onlySession(daemon, since);
    const shown = [id, 'portforward', 'watched', pod.id.slice(0, 12), address, SPDY_FORWARD, ports.join(',')];
    assert.deepEqual(row, [...shown, '1.0 MB', '1.0 MB', '-']);
    const who = forwardOf(address, SPDY_FORWARD, ports);
    assert.deepEqual(json, { ...who, ...jsonOf(id, bytes, 3) });
    const during = await scrape(daemon);
    assert.deepEqual(sessions(during, 'portforward', SPDY_FORWARD), [1, 1]);
    assert.deepEqual(bytesMoved(during, 'portforward'), { 'in data': bytes, 'out data': bytes });
    assert.equal(valueOf(during, 'berth_forwarded_connections_total'), 3);

    assert.deepEqual(await berth(daemon, ['sessions', 'kill', id]), { code: 0, stdout: `${id}\n`, stderr: '' });
    const sentence = (await told).toString();
    const [, by = ''] = /^the session was ended by (.+)$/.exec(sentence) ?? assert.fail(sentence);
    // Behind `sudo` there is a second name.
    assert.ok(by.includes(userInfo().username), by);
    await eventually('the connection is closed', () => connection.socket.destroyed);
    assert.equal(came, 'still here');
    const common = { ...who, session: id, pod: pod.id };
    const how = { reason: 'SessionKilled', cause: `killed by ${by}`, status: 'Failure' };
    assert.deepEqual(await auditOf(daemon, id), [
      { ...BEGIN, ...common },
      { ...END, ...common, ...how, bytesIn: bytes, bytesOut: bytes, connections: 3 },
    ]);
    const families = await scrape(daemon);
    assert.deepEqual(sessions(families, 'portforward', SPDY_FORWARD), [0, 1]);
    assert.deepEqual(bytesMoved(families, 'portforward'), { 'in data': bytes, 'out data': bytes });
    const reasons = ['SessionKilled', 'ClientGone', 'Other'].map((reason) => ended(families, 'portforward', reason));
    assert.deepEqual(reasons, [1, 0, 0]);
    assert.equal((await berth(daemon, ['sessions', '-q'])).stdout, '');
    const again = await berth(daemon, ['sessions', 'kill', id]);
    assert.deepEqual([again.code, again.stdout], [125, '']);
    assert.match(again.stderr, /no session has the id/);
  } finally {
    connection.destroy();
  }
});

test('port-forward over channels and in a tunnel: the same lines, and a client that leaves is no failure', async () => {
  const before = bytesMoved(await scrape(daemon), 'portforward');
  const left = { reason: 'ClientGone', cause: 'client closed with 1000', status: 'Success' };
  const since = Date.now();
  using client = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  for (const block of randomBlocks(MIB, 2)) await client.send(block);
  await client.came(MIB);
  assert.deepEqual([client.bytes, client.sha256(), client.error], [MIB, randomSha256(MIB, 2), '']);
  const { id, row, json } = await onlySession(daemon, since);
  const target = ['portforward', 'watched', pod.id.slice(0, 12)];
  assert.deepEqual(row, [id, ...target, client.address, CHANNELS, `${PORTS.echo}`, '1.0 MB', '1.0 MB', '-']);
  const who = forwardOf(client.address, CHANNELS, [PORTS.echo]);
  assert.deepEqual(json, { ...who, ...jsonOf(id, MIB, 1) });
  client.close();
  await client.ended();
  const common = { ...who, session: id, pod: pod.id };
  assert.deepEqual(await auditOf(daemon, id), [
    { ...BEGIN, ...common },
    { ...END, ...common, ...left, bytesIn: MIB, bytesOut: MIB, connections: 1 },
  ]);

  const tunnel = await SpdyClient.connect(await portForwardUrl(daemon, pod.id), { tunnel: true, protocols: [TUNNEL] });
  try {
    const { data } = await tunnel.forward(PORTS.echo);
    data.write('through');
    data.end();
    await data.ended;
    assert.equal(data.text, 'through');
    const second = await onlySession(daemon, since);
    const remote = second.row[4] ?? '';
    assert.match(remote, /^127\.0\.0\.1:\d+$/);
    assert.deepEqual(second.row, [second.id, ...target, remote, TUNNEL, 'any port', '7 B', '7 B', '-']);
    tunnel.end();
    const tunneled = { ...forwardOf(remote, TUNNEL, []), session: second.id, pod: pod.id };
    assert.deepEqual(await auditOf(daemon, second.id), [
      { ...BEGIN, ...tunneled },
      { ...END, ...tunneled, ...left, bytesIn: 7, bytesOut: 7, connections: 1 },
    ]);
  } finally {
    tunnel.destroy();
  }
  const families = await scrape(daemon);
  assert.deepEqual(
    [CHANNELS, TUNNEL].map((protocol) => sessions(families, 'portforward', protocol)),
    [
      [0, 1],
      [0, 1],
    ],
  );
  const [inBefore = 0, outBefore = 0] = ['in data', 'out data'].map((key) => before[key]);
  assert.deepEqual(bytesMoved(families, 'portforward'), { 'in data': inBefore + MIB + 7, 'out data': outBefore + MIB + 7 });
  assert.equal(ended(families, 'portforward', 'ClientGone'), 2);
});
