// Who is at the other end: addresses as they are written, certificates that were verified, and an idle session's audit line.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Certificates } from '../testing/certificates.ts';
import type { Log } from '../util/log.ts';
import { LiveSessions } from './live-sessions.ts';
import { remoteOf } from './peer.ts';
import { handlers, type Serve, startServer, SUCCESS } from './test-server.ts';

const hold: Serve = ({ transport }) => new Promise((resolve) => transport.start(handlers({ closed: () => resolve(SUCCESS) })));

/** Sessions whose audit lines are kept. */
function recorded(): { readonly live: LiveSessions; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const ignore = (): void => undefined;
  const log: Log = {
    debug: ignore,
    warn: ignore,
    error: ignore,
    info: (fields) => void lines.push({ ...fields }),
    child: () => log,
  };
  return { live: new LiveSessions({ log }), lines };
}

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    assert.ok(performance.now() < deadline, `never: ${what.toString()}`);
    await sleep(2);
  }
}

test('addresses are written so that the port can be told from them', () => {
  assert.equal(remoteOf({ remoteAddress: '10.0.0.1', remotePort: 1 }), '10.0.0.1:1');
  assert.equal(remoteOf({ remoteAddress: 'fe80::1', remotePort: 65_535 }), '[fe80::1]:65535');
});

test('the subject of a verified client certificate stands in the audit line; without one there is none', async () => {
  using certs = new Certificates();
  const server = certs.issue('server');
  const client = certs.issue('operator-7');
  for (const mutual of [true, false]) {
    const { live, lines } = recorded();
    const tls = { ...server, ...(mutual ? { clientCa: certs.ca.cert } : {}) };
    await using fixture = await startServer(hold, { tls }, undefined, undefined, live);
    const url = fixture
      .url()
      .replace(/^https?/, 'wss')
      .replace(/^ws:/, 'wss:');
    const credentials = { ca: certs.caPem, cert: readFileSync(client.cert), key: readFileSync(client.key) };
    const socket = new WebSocket(url, 'v5.channel.k8s.io', credentials);
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    await until(() => lines.length === 1);
    assert.equal(lines[0]?.['clientCertificate'], mutual ? 'CN=operator-7' : undefined);
    assert.match(String(lines[0]?.['remote']), /^127\.0\.0\.1:\d+$/);
    socket.terminate();
    await until(() => lines.length === 2);
    assert.equal(lines[1]?.['reason'], 'ClientGone');
  }
});

test('a session that was idle for too long is told so and audited as such', async () => {
  const { live, lines } = recorded();
  await using fixture = await startServer(hold, { idleTimeoutMs: 3_000 }, undefined, undefined, live);
  const socket = new WebSocket(fixture.url(), 'v5.channel.k8s.io');
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  socket.send(Buffer.from([0, 1, 2, 3]));
  await until(() => lines.length === 2);
  const end = lines[1] ?? {};
  assert.deepEqual(
    ['reason', 'status', 'bytesIn'].map((key) => end[key]),
    ['IdleTimeout', 'Failure', 3],
  );
});
