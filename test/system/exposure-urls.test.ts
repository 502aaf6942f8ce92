/** URLs that are not `http://127.0.0.1`: the streaming server on IPv6, and behind a proxy that has the certificate and a prefix. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { attach, type ClientTls } from '@berth/client';
import { Certificates } from '../../packages/daemon/src/testing/certificates.ts';
import { SpdyClient } from '../../packages/daemon/src/testing/spdy-client.ts';
import { AttachClient } from '../src/attach.ts';
import { audited } from '../src/audit.ts';
import { berth } from '../src/berth.ts';
import { TestDaemon } from '../src/daemon.ts';
import { feed, sumOf } from '../src/hashing.ts';
import { RawConnection, upgradeHeaders } from '../src/http.ts';
import { type Pod, runContainer, runPod } from '../src/pods.ts';
import { ForwardClient, PodServer, PORTS, portForwardUrl } from '../src/port-forward.ts';
import { randomBlocks, randomSha256 } from '../src/random.ts';
import { ReverseProxy } from '../src/reverse-proxy.ts';
import { SpdyAttach } from '../src/spdy-attach.ts';

const MIB = 1024 * 1024;
const ECHO = 'while read -r line; do echo "got $line"; done';

/** The library: 8 MiB to a container and back, to its end. Gives where the session came from, as the audit lines have it. */
async function catThrough(daemon: TestDaemon, pod: Pod, tls?: ClientTls): Promise<string> {
  const container = await runContainer(daemon, pod, 'exec cat', { stdin: true, stdinOnce: true });
  const session = await attach(daemon.client, container.id, { stdin: true, tls });
  const [echoed, end] = await Promise.all([sumOf(session.stdout), session.ended, feed(session.stdin, randomBlocks(8 * MIB, 5))]);
  assert.deepEqual(echoed, { bytes: 8 * MIB, sha256: randomSha256(8 * MIB, 5) });
  assert.equal(end.kind === 'status' && end.status.status, 'Success');
  const [begin, last] = await audited(daemon, 'container', container.id, 2);
  assert.deepEqual([last?.['bytesIn'], last?.['bytesOut'], last?.['remote']], [8 * MIB, 8 * MIB, begin?.['remote']]);
  return String(begin?.['remote']);
}

test('the streaming server on [::1]: the library, berth attach and a port-forward over the IPv6 URL', async () => {
  await using daemon = await TestDaemon.start({ streaming: '[::1]:0' });
  assert.match(daemon.streaming, /^http:\/\/\[::1\]:[1-9]\d*$/);
  const pod = await runPod(daemon);
  assert.match(await catThrough(daemon, pod), /^\[::1\]:[1-9]\d*$/);

  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  assert.ok((await container.attachUrl()).startsWith(`${daemon.streaming}/attach/`));
  assert.deepEqual(await berth(daemon, ['attach', container.id], 'it\n'), { code: 0, stdout: 'got it\n', stderr: '' });
  // The port is one of IPv6 alone.
  const { port } = new URL(daemon.streaming);
  await assert.rejects(RawConnection.open(`http://127.0.0.1:${port}`), /ECONNREFUSED/);

  await using _server = await PodServer.start(daemon);
  using forwarded = await ForwardClient.open(daemon, pod.id, PORTS.echo);
  await forwarded.send('through');
  await forwarded.came(7);
  assert.deepEqual([forwarded.text, forwarded.error], ['through', '']);
});

test('behind a proxy on the same machine that ends TLS and takes a prefix off: every client gets through by the advertised URL', async () => {
  using certs = new Certificates();
  const pair = certs.issue('proxy');
  // The port must be known before the daemon is; on an address of this process's own it is free.
  const host = `127.${1 + ((process.pid >> 16) & 63)}.${(process.pid >> 8) & 255}.${process.pid & 255}`;
  const to = { host, port: 20_350 };
  await using proxy = await ReverseProxy.start({ ...pair, prefix: '/berth/one', to });
  const settings = `[streaming]\nadvertise = "${proxy.url}/"`;
  await using daemon = await TestDaemon.start({ streaming: `${host}:${to.port}`, settings });
  assert.equal(daemon.streaming, proxy.url);
  const pod = await runPod(daemon);
  // Who has connected is the proxy.
  const remote = await catThrough(daemon, pod, { ca: certs.caPem });
  assert.deepEqual([proxy.requests, proxy.addresses], [['GET /berth/one/attach/'], [remote]]);

  const container = await runContainer(daemon, pod, ECHO, { stdin: true });
  const shown = await berth(daemon, ['attach', '--tls-ca', certs.ca.cert, container.id], 'by the command\n');
  assert.deepEqual(shown, { code: 0, stdout: 'got by the command\n', stderr: '' });
  const stranger = await berth(daemon, ['attach', container.id], 'never\n');
  assert.deepEqual([stranger.code, stranger.stdout], [125, '']);
  assert.match(stranger.stderr, /certificate/);

  const once = await runContainer(daemon, pod, 'read line; echo "got $line"', { stdin: true });
  using spdy = await SpdyAttach.open(await once.attachUrl(), { stdin: true, ca: readFileSync(certs.ca.cert) });
  spdy.send('by SPDY\n');
  assert.equal((await spdy.ended())?.status, 'Success');
  assert.deepEqual([spdy.stdout.text(), spdy.faults], ['got by SPDY\n', []]);

  await using _server = await PodServer.start(daemon);
  const forwards = { protocols: ['portforward.k8s.io'], ca: certs.caPem };
  const forward = await SpdyClient.connect(await portForwardUrl(daemon, pod.id), forwards);
  try {
    const { data, error } = await forward.forward(PORTS.echo);
    for (const block of randomBlocks(MIB, 6)) await data.writeSlowly(block);
    data.end();
    await Promise.all([data.ended, error.ended]);
    assert.deepEqual([data.bytes, data.sha256, error.bytes], [MIB, randomSha256(MIB, 6), 0]);
  } finally {
    forward.destroy();
  }
  assert.deepEqual(proxy.requests.slice(1), ['GET /berth/one/attach/', 'POST /berth/one/attach/', 'POST /berth/one/portforward/']);

  // The prefix is the proxy's affair: the server knows no such path, and what it has not served it does not use up.
  const url = await container.attachUrl();
  const direct = `http://${host}:${to.port}${new URL(url).pathname}`;
  using raw = await RawConnection.open(direct);
  assert.equal(await raw.request(direct, upgradeHeaders('v5.channel.k8s.io')), 404);
  using late = await AttachClient.open(url, { ca: certs.caPem });
  await late.send('late\n');
  await late.sees(/^got late\n$/);
});
